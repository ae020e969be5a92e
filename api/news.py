"""What the process that finds models tells those that serve them, as one line of JSON."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

# The exit code of a loader that gave up waiting for the registry, and must be started again.
GAVE_UP = 75

_DIGEST = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"[0-9]{1,18}")
_LONGEST_NAME = 1_000
_LONGEST_SIGNATURE = 2**14


@dataclass(frozen=True)
class Copy:
    """A verified copy of a model in the cache, in a folder named by its digest, and what the model is called.

    `confirmed`: it was asked for since the service started, and is not only what was served before.
    `signature`: of the manifest, in base64, where its version has one.
    """

    folder: str
    name: str
    version: str | None
    alias: str | None
    confirmed: bool = True
    signature: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for what must not reach a path, a header or a line of the log."""
        texts = (self.folder, self.name, "-" if self.alias is None else self.alias, self.signature or "")
        is_fit = (
            all(type(text) is str and text.isprintable() for text in texts)
            and _DIGEST.fullmatch(self.digest) is not None
            and (self.version is None or _VERSION.fullmatch(self.version) is not None)
            and max(map(len, texts[:3])) <= _LONGEST_NAME
            and len(texts[3]) <= _LONGEST_SIGNATURE
            and type(self.confirmed) is bool
        )
        if not is_fit:
            raise ValueError("no copy of a model")

    @property
    def digest(self) -> str:
        return Path(self.folder).name


@dataclass(frozen=True)
class News:
    """The copy to serve, if there is one, and why a better one cannot be had, if that is so.

    The same of the challenger. `refusals` counts the versions that were refused. `looked_at` is when the
    registry last answered, in seconds of the monotonic clock, which all processes of a machine share; None
    where it is not asked again.
    """

    copy: Copy | None = None
    problem: str | None = None
    challenger: Copy | None = None
    challenger_problem: str | None = None
    refusals: int = 0
    looked_at: float | None = None

    def line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def of(cls, line: bytes) -> "News":
        content = json.loads(line)
        for copied in ("copy", "challenger"):
            content[copied] = content[copied] and Copy(**content[copied])
        return cls(**content)
