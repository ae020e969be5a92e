"""What the supervisor and a worker say to each other, over a socket pair: lines of JSON, each of a kind.

The supervisor says `news` (what is known of the model), `prepare` (load a copy, and hold it ready under a
number) and `serve` (accept connections). The worker says `here` (it has started and listens), `loaded` or
`unusable` (of a number), `serving` (it accepts connections) and `alive` (its event loop turns). Each end
ignores kinds and keys that it does not know, so that workers and supervisor may be of different releases.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from api.news import PROTOCOL

# Longer than any line. An end that sends more without a line feed says nothing that can be understood.
_LONGEST = 256 * 1024


class Said(NamedTuple):
    kind: str
    facts: dict[str, Any]

    @property
    def number(self) -> int:
        """The generation that is meant; 0, which is none, where it is missing or not a number."""
        found = self.facts.get("number")
        return found if isinstance(found, int) else 0


def line(kind: str, **facts: object) -> bytes:
    return json.dumps({"protocol": PROTOCOL, "kind": kind, **facts}).encode() + b"\n"


def read(text: bytes) -> Said:
    """A line; of no kind where it is not one of these."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        return Said("", {})
    return Said(str(content.get("kind", "")), content)


class Lines:
    """Makes whole lines of the pieces that arrive."""

    def __init__(self) -> None:
        self._rest = b""

    def of(self, piece: bytes) -> Iterator[Said]:
        *lines, rest = (self._rest + piece).split(b"\n")
        self._rest = rest if len(rest) <= _LONGEST else b""
        return map(read, lines)
