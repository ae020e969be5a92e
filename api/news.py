"""What the process that finds models tells those that serve them, as one line of JSON."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path


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
