"""What the supervisor and a worker say to each other, over a socket pair: lines of JSON, each of a kind.

The supervisor says `news` (what is known of the model), `prepare` (load a copy, and hold it ready under a
number) and `serve` (accept connections). The worker says `here` (it has started and listens), `loaded` or
`unusable` (of a number), `serving` (it accepts connections) and `alive` (its event loop turns). Each end
ignores kinds and keys that it does not know, so that workers and supervisor may be of different releases.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from api.delivery.news import PROTOCOL

# Longer than any line. More bytes without a line feed are dropped.
_LONGEST = 256 * 1024


class Said(NamedTuple):
    kind: str
    facts: dict[str, Any]

    @property
    def number(self) -> int:
        """The number of the generation. 0, which is none, if it is missing or not a number."""
        found = self.facts.get("number")
        return found if isinstance(found, int) else 0


def line(kind: str, **facts: object) -> bytes:
    return json.dumps({"protocol": PROTOCOL, "kind": kind, **facts}).encode() + b"\n"


def read(text: bytes) -> Said:
    """Parse a line. Its kind is empty if it is not a line of this protocol."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        return Said("", {})
    return Said(str(content.get("kind", "")), content)


class Lines:
    """Joins the pieces that arrive into whole lines."""

    def __init__(self) -> None:
        self._rest = b""

    def of(self, piece: bytes) -> Iterator[Said]:
        *lines, rest = (self._rest + piece).split(b"\n")
        self._rest = rest if len(rest) <= _LONGEST else b""
        return map(read, lines)
