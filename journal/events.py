"""What the journal keeps beside receipts: versions, calls, files, reviews, erasures, holds, checkpoints."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import UnionType
from typing import Any, ClassVar, get_origin

from journal import ids
from journal.models import Model
from journal.record import Entry, Kind, now

# Fields that have a place of their own in an entry. All others are its lasting part, as canonical JSON.
_APART = frozenset({"id", "time", "model", "reason", "decision", "call", "subject"})
_ABOUT = ("decision", "call", "subject")


@dataclass(frozen=True, kw_only=True)
class Event:
    KIND: ClassVar[Kind]

    id: bytes = field(default_factory=ids.new)
    time: int = field(default_factory=now)

    def entry(self) -> Entry:
        lasting = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in _APART}
        return Entry(
            self.KIND,
            self.id,
            self.time,
            json.dumps(lasting, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(),
            getattr(self, "reason", "").encode(),
            getattr(self, "model", None),
            subject=next(filter(None, (getattr(self, name, None) for name in _ABOUT)), None),
        )


@dataclass(frozen=True, kw_only=True)
class Start(Event):
    """A writer begins. `journal`: the origin of the journal that it writes to. `process`: which program."""

    KIND = Kind.START
    journal: str
    process: str
    code: str
    c_library: str


@dataclass(frozen=True, kw_only=True)
class End(Event):
    """A writer ends in order. One that was killed, or still writes, has no end."""

    KIND = Kind.END


@dataclass(frozen=True, kw_only=True)
class Served(Event):
    """A version decides from now on."""

    KIND = Kind.SERVED
    model: Model


@dataclass(frozen=True, kw_only=True)
class Answered(Event):
    """All receipts of a batch call are in the journal, so that its answer may leave. `receipts`: how many."""

    KIND = Kind.ANSWERED
    call: bytes
    receipts: int


@dataclass(frozen=True, kw_only=True)
class Unanswered(Event):
    """A refusal left in the place of an answer. `subject`: a decision, or the call of a batch."""

    KIND = Kind.UNANSWERED
    subject: bytes
    is_of_a_call: bool = False


@dataclass(frozen=True, kw_only=True)
class Scored(Event):
    """A file of clients was scored by `python -m batch`; its decisions are in its output, and not here.

    `input` and `output`: SHA-256 of all bytes. Of several files that of their digests, one a line.
    `labels`: clients by label. `set_aside`: rows that were not decided on.
    """

    KIND = Kind.SCORED
    model: Model
    input: str
    output: str
    labels: Mapping[str, int]
    set_aside: int


OUTCOMES = ACCEPT, REFUSE = ("accept", "refuse")


@dataclass(frozen=True, kw_only=True)
class Review(Event):
    """A person decides on a decision. The reason may speak of the client, and is erased with the inputs.

    `outcome`: one of OUTCOMES.
    """

    KIND = Kind.REVIEW
    decision: bytes
    outcome: str
    reviewer: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Erasure(Event):
    """The receipts and reviews at these positions lost their erasable parts. Both ends belong to a range."""

    KIND = Kind.ERASURE
    by: str
    why: str
    ranges: tuple[tuple[int, int], ...]
    decision: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Hold(Event):
    """The decision must not be erased from now on."""

    KIND = Kind.HOLD
    decision: bytes
    by: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Release(Event):
    """The decision may be erased again."""

    KIND = Kind.RELEASE
    decision: bytes
    by: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Event):
    """The signed note that was given out."""

    KIND = Kind.CHECKPOINT
    note: str


_BY_KIND: Mapping[int, type[Event]] = {one.KIND: one for one in Event.__subclasses__()}


def read(entry: Entry) -> Event:
    """The event in an entry, whose erasable part is empty if it was erased.

    Raises KeyError, TypeError, ValueError or RecursionError for what is none.
    """
    content: dict[str, Any] = json.loads(entry.lasting)
    json.dumps(content, ensure_ascii=False).encode()  # fails for text that no bytes can hold
    kind = _BY_KIND[entry.kind]
    names = {one.name for one in fields(kind)}
    about = dict.fromkeys(_ABOUT, entry.subject)
    apart = {"model": entry.model, "reason": entry.erasable.decode(), **about}
    content |= {name: value for name, value in apart.items() if name in names}
    if "ranges" in content:
        content["ranges"] = tuple((int(first), int(last)) for first, last in content["ranges"])
    event = kind(id=entry.id, time=entry.time, **content)
    for one in fields(kind):
        if not isinstance(getattr(event, one.name), _class_of(one.type)):
            raise TypeError(f"{one.name} is of another type")
    return event


def _class_of(declared: Any) -> Any:
    """What a value of this type is an instance of: a `Mapping[str, int]` is a Mapping."""
    return declared if isinstance(declared, UnionType) else get_origin(declared) or declared
