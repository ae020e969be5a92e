"""News of the model, as lines of JSON: from the loader to the supervisor, and from there to the workers."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

# After SIGHUP new workers listen to an old supervisor: they ignore facts that they do not know, and each fact
# that they miss has a default.
PROTOCOL = 1

# The exit code of a loader that gave up waiting for the registry, and must be started again.
GAVE_UP = 75

_DIGEST = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"[0-9]{1,18}")
_LONGEST_NAME = 1_000
_LONGEST_STATEMENT = 2**14


@dataclass(frozen=True)
class Copy:
    """A verified copy of a model in the cache, in a folder named by its digest, and what the model is called.

    `confirmed`: the registry has named it since the service started. Otherwise it is what was served before.
    `statement`: the text that holds its signed statement, where its version has one.
    """

    folder: str
    name: str
    version: str | None = None
    alias: str | None = None
    confirmed: bool = True
    statement: str | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for text that must not reach a path, a header or a line of the log."""
        texts = (self.folder, self.name, "-" if self.alias is None else self.alias, self.statement or "")
        is_fit = (
            all(type(text) is str and text.isprintable() for text in texts)
            and _DIGEST.fullmatch(self.digest) is not None
            and (self.version is None or _VERSION.fullmatch(self.version) is not None)
            and max(map(len, texts[:3])) <= _LONGEST_NAME
            and len(texts[3]) <= _LONGEST_STATEMENT
            and type(self.confirmed) is bool
        )
        if not is_fit:
            raise ValueError("no copy of a model")

    @property
    def digest(self) -> str:
        return Path(self.folder).name

    @property
    def called(self) -> str:
        """How the log names it."""
        version = f"{self.name} version {self.version}" if self.version else self.name
        return f"{version} ({self.digest[:12]})"

    @classmethod
    def of_facts(cls, content: Mapping[str, Any]) -> "Copy":
        return cls(**_known(cls, content))


@dataclass(frozen=True)
class News:
    """The copy to serve, if there is one, and the problem that keeps a newer one away, if there is one.

    The same for the challenger. `refusals` counts versions that were refused. `looked_at` is when the
    registry last answered, in seconds of the monotonic clock, which all processes of a machine share. None if
    the registry is not asked again.
    """

    copy: Copy | None = None
    problem: str | None = None
    challenger: Copy | None = None
    challenger_problem: str | None = None
    refusals: int = 0
    looked_at: float | None = None

    def after(self, former: "News") -> "News":
        """What is known after these news. A copy stays until there is another; a problem must be told each
        time.

        The challenger stays too, until a registry that has answered names none.
        """
        return replace(
            self,
            copy=self.copy or former.copy,
            challenger=former.challenger if self.looked_at is None else self.challenger,
            refusals=former.refusals + self.refusals,
            looked_at=former.looked_at if self.looked_at is None else self.looked_at,
        )

    def line(self) -> bytes:
        return json.dumps({"protocol": PROTOCOL, **self.facts()}).encode() + b"\n"

    def facts(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, line: bytes) -> "News":
        """The news of a line. Raises ValueError."""
        content = json.loads(line)
        if not isinstance(content, dict):
            raise ValueError("not an object")
        return cls.of_facts(content)

    @classmethod
    def of_facts(cls, content: Mapping[str, Any]) -> "News":
        copies = {
            name: Copy.of_facts(content[name])
            for name in ("copy", "challenger")
            if content.get(name) is not None
        }
        return cls(**(_known(cls, content) | copies))


def _known(kind: type, content: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in content.items() if name in names}
