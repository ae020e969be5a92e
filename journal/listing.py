"""Finds decisions by what is asked for without reading their values: time, label, version, open reviews."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import sqlalchemy as sa

from journal import ids, reading, receipt, schema
from journal.errors import Damaged
from journal.models import LABELS
from journal.reading import Record
from journal.record import SALT_BYTES, Kind

_columns = schema.record.c
_SOUGHT = 500  # subjects at a time: of ten times as many SQLite would rather read the whole table
_PLACE = (_columns.position, _columns.time, _columns.id)
Line = TypeVar("Line")


@dataclass(frozen=True)
class Wanted:
    """Which decisions. `since`, `until`: microseconds since 1970; the end does not belong to it.

    `is_open`: in the grey zone, not reviewed, answered, and not erased: nobody can review what is gone.
    `is_reviewed`: by anybody, once or more.
    """

    since: int | None = None
    until: int | None = None
    label: str | None = None
    version: str | None = None
    is_open: bool = False
    is_reviewed: bool = False

    def conditions(self, connection: sa.Connection) -> list[sa.ColumnElement[bool]]:
        found: list[sa.ColumnElement[bool]] = []
        if self.is_open:
            found += [schema.is_open, _is_answered()]
        if self.is_reviewed:
            found.append(schema.is_reviewed)
        if not found:
            found.append(schema.is_receipt)
        if self.since is not None:
            found.append(_columns.time >= self.since)
        if self.until is not None:
            found.append(_columns.time < self.until)
        if self.label is not None:
            found.append(_columns.label == LABELS.index(self.label))
        if self.version is not None:
            found.append(_columns.model.in_(_numbers(connection, self.version)))
        return found


def _numbers(connection: sa.Connection, version: str) -> list[int]:
    known = reading.all_models(connection)
    return [number for number, model in known.items() if number is not None and model.version == version]


def _is_answered() -> sa.ColumnElement[bool]:
    """Whether no refusal is known and, of a call, whether all of its receipts came to the journal."""
    other = schema.record.alias("other").c

    def is_told(subject: sa.ColumnElement[bytes], kind: Kind) -> sa.ColumnElement[bool]:
        return sa.exists(sa.select(other.position).where(other.subject == subject, other.kind == int(kind)))

    of_a_call, of_none = _columns.subject.is_not(None), _columns.subject.is_(None)
    return sa.or_(
        sa.and_(of_none, ~is_told(_columns.id, Kind.UNANSWERED)),
        sa.and_(
            of_a_call,
            is_told(_columns.subject, Kind.ANSWERED),
            ~is_told(_columns.subject, Kind.UNANSWERED),
        ),
    )


def unanswered(connection: sa.Connection, receipts: Sequence[Record]) -> set[bytes]:
    """The ids of those of which no answer told.

    The journal could not take the rest of their call, or took too long and a refusal left instead.
    """
    calls = sorted({one.subject for one in receipts if one.subject is not None})
    answered = _told(connection, calls, Kind.ANSWERED) - refused(connection, calls)
    alone = refused(connection, [one.id for one in receipts if one.subject is None])
    return alone | {one.id for one in receipts if one.subject is not None and one.subject not in answered}


def counting_as_answered(connection: sa.Connection, decisions: Sequence[bytes]) -> set[bytes]:
    """Those of these decisions that have a receipt, and no event of a refusal in the place of the answer."""
    found: set[bytes] = set()
    for start in range(0, len(decisions), _SOUGHT):
        of_these = _columns.id.in_(decisions[start : start + _SOUGHT])
        found.update(connection.execute(sa.select(_columns.id).where(of_these)).scalars())
    return found - refused(connection, decisions)


def refused(connection: sa.Connection, subjects: Sequence[bytes]) -> set[bytes]:
    """Those of these decisions and calls of which the journal tells that a refusal left."""
    return _told(connection, subjects, Kind.UNANSWERED)


def _told(connection: sa.Connection, subjects: Sequence[bytes], kind: Kind) -> set[bytes]:
    """Those of the subjects about which there is an event of this kind."""
    found: set[bytes] = set()
    for start in range(0, len(subjects), _SOUGHT):
        of_these = _columns.subject.in_(subjects[start : start + _SOUGHT])
        query = sa.select(_columns.subject).where(of_these, _columns.kind == int(kind))
        found.update(connection.execute(query).scalars())
    return found


class Place(NamedTuple):
    """Where a decision is, also where the rest of its record cannot be read."""

    position: int
    time: int
    id: bytes


def place_of(connection: sa.Connection, decision: bytes, label: str | None) -> Place | None:
    """None if there is no such decision, or another label is wanted."""
    conditions = [] if label is None else [_columns.label == LABELS.index(label)]
    query = sa.select(*_PLACE).where(_columns.id == decision, schema.is_receipt, *conditions)
    found = connection.execute(query).one_or_none()
    return None if found is None else Place(*found)


def records_at(connection: sa.Connection, places: Sequence[Place]) -> list[Record]:
    """In the order of the places. Raises Damaged."""
    for place in places:
        with reading.readable(place.position):
            ids.read(ids.written(place.id))  # fails for what is no id, before it is looked for elsewhere
    found = {one.position: one for one in _at(connection, sorted(place.position for place in places))}
    records = []
    for place in places:
        with reading.readable(place.position):  # an index may name a row that is gone
            records.append(found[place.position])
    return records


def places(
    connection: sa.Connection,
    wanted: Wanted,
    most: int,
    after: Place | None = None,
    *,
    is_oldest_first: bool = False,
) -> list[Place]:
    """Of the newest decisions, the last one first, or of the oldest. `after`: from which on, in that order.

    What is written meanwhile moves none of them to another page.
    """
    order = (_columns.time, _columns.position)
    query = sa.select(*order).where(*wanted.conditions(connection))
    if after is not None:
        last = sa.tuple_(after.time, after.position)
        query = query.where(sa.tuple_(*order) > last if is_oldest_first else sa.tuple_(*order) < last)
    query = query.order_by(*(order if is_oldest_first else (one.desc() for one in order))).limit(most)
    found = connection.execute(query).all()  # by an index alone
    own_ids: dict[int, bytes] = {}
    for start in range(0, len(found), reading.PAGE):
        of_these = _columns.position.in_([position for _, position in found[start : start + reading.PAGE]])
        own_ids |= {row.position: row.id for row in connection.execute(sa.select(*_PLACE).where(of_these))}
    return [Place(position, time, own_ids.get(position, b"")) for time, position in found]


class Unread(NamedTuple):
    """A decision that cannot be shown, and the record that is damaged: its own, or one about it."""

    place: Place
    position: int

    @classmethod
    def at(cls, position: int) -> "Unread":
        """A record of which nothing else can be read."""
        return cls(Place(position, 0, b""), position)


Decision = TypeVar("Decision", Place, Record)


def each_readable(
    decisions: Sequence[Decision], lines: Callable[[Sequence[Decision]], list[Line]]
) -> tuple[list[Line], list[Unread]]:
    """The lines of the decisions that can be read, and the others, which are found by halves.

    `lines`: of several decisions. Raises Damaged where one of them cannot be read.
    """
    if not decisions:
        return [], []
    try:
        return lines(decisions), []
    except Damaged as error:
        if len(decisions) == 1:
            place = Place(decisions[0].position, decisions[0].time, decisions[0].id)
            return [], [Unread(place, place.position if error.position is None else error.position)]
        middle = len(decisions) // 2
        first, second = (each_readable(half, lines) for half in (decisions[:middle], decisions[middle:]))
        return first[0] + second[0], first[1] + second[1]


def last_reviews(connection: sa.Connection, decisions: Sequence[bytes]) -> dict[bytes, Record]:
    """The last review of each of these decisions that has one."""
    found: dict[bytes, Record] = {}
    for start in range(0, len(decisions), _SOUGHT):
        of_these = _columns.subject.in_(decisions[start : start + _SOUGHT])
        for page in reading.records(connection, of_these, _columns.kind == int(Kind.REVIEW)):
            found |= {one.subject: one for one in page if one.subject is not None}
    return found


def of_reference(
    connection: sa.Connection,
    reference: str,
    *conditions: sa.ColumnElement[bool],
    progress: Callable[[int], object] = lambda receipts: None,
    damages: reading.Damages,
) -> list[Record]:
    """The decisions with this client reference, in their order; an erased one has none.

    All receipts are read, of which `progress` is told: no index holds a copy of theirs. `damages` is told the
    position of each that cannot be read, and may be one of them.
    """
    found: list[int] = []
    wanted = (_columns.position, _columns.erasable)
    unerased = (_columns.kind == int(Kind.RECEIPT), _columns.is_erased == 0)
    for page in reading.pages(connection, wanted, *unerased, *conditions):
        for position, salted in page:
            if not isinstance(salted, bytes):
                damages(position)
            elif receipt.ends_with_reference(salted[SALT_BYTES:], reference):
                found.append(position)
        progress(len(page))
    with_it = []
    for one in _at(connection, found, damages):
        try:
            if one.client is not None and one.client.client_reference == reference:
                with_it.append(one)
        except Damaged:
            damages(one.position)
    return with_it


def _at(
    connection: sa.Connection, positions: Sequence[int], damages: reading.Damages | None = None
) -> Iterator[Record]:
    for start in range(0, len(positions), reading.PAGE):
        places = positions[start : start + reading.PAGE]
        for page in reading.records(connection, _columns.position.in_(places), damages=damages):
            yield from page


def count(connection: sa.Connection, wanted: Wanted) -> int:
    query = sa.select(sa.func.count()).select_from(schema.record).where(*wanted.conditions(connection))
    return connection.execute(query).scalar_one()


def all_of(
    connection: sa.Connection, wanted: Wanted, damages: reading.Damages | None = None
) -> Iterator[list[Record]]:
    """All such decisions in their order, a page at a time. `damages`: as of `reading.records`."""
    return reading.records(connection, *wanted.conditions(connection), damages=damages)


def positions(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> Iterator[int]:
    for page in reading.pages(connection, [_columns.position], *conditions):
        for (position,) in page:
            yield position
