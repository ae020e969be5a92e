"""Erases what the journal knows of a client, and keeps what proves that nothing else was changed.

An erased part is overwritten in its place, in the same length, so that no row moves and leaves a copy behind.
What SQLite's log and PostgreSQL's old rows still hold is removed afterwards.
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from journal import events, ids, ranges, reading, record, schema
from journal.code_version import code_version
from journal.errors import JournalError, Refused, Unavailable
from journal.plural import counted
from journal.record import Kind
from journal.store import Journal
from journal.writer import Group, Writer

_TOGETHER = 200  # decisions, or records of one age, in a transaction: decisions wait for it
_SHORTEST_PAUSE = 0.1  # seconds between two transactions: as long as SQLite sleeps who waits for its lock
_BETWEEN_ATTEMPTS, _CLEARING_MILLISECONDS = 0.5, 100  # to clear SQLite's log
_STILL_IN_THE_LOG = (
    "the values are erased, and the log of the database still holds them, because somebody reads: "
    "erase again when they have ended"
)

_columns = schema.record.c
_ERASABLE = (
    _columns.is_erased == 0,
    _columns.kind.in_([int(kind) for kind in record.ERASED_WITH_THE_DECISION]),
)


class ByAge(NamedTuple):
    """How many decisions were erased, and how many were old enough and held.

    `damaged`: the positions of records that were old enough, and that could not be erased.
    """

    erased: int
    held: int
    damaged: tuple[int, ...] = ()


class _Erasable(NamedTuple):
    """What an erasure has to know of a record, whatever else of it is damaged."""

    position: int
    kind: int
    id: bytes
    subject: bytes | None
    salted: bytes

    @property
    def decision(self) -> bytes | None:
        return self.id if self.kind == Kind.RECEIPT else self.subject

    @property
    def is_erasable(self) -> bool:
        return isinstance(self.salted, bytes) and len(self.salted) >= record.SALT_BYTES


class Held(Refused):
    """A legal hold stands against the erasure. `erased`: how many decisions were erased before it came."""

    def __init__(self, decision: bytes, erased: int = 0) -> None:
        done = counted(erased, "other was", "others were") if erased else "nothing was"
        super().__init__(
            f"decision {ids.written(decision)} is held and {done} erased: python -m journal release "
            f'--decision {ids.written(decision)} --why "…" lets it go'
        )


def erase(
    journal: Journal,
    decisions: Sequence[bytes],
    by: str,
    why: str,
    process: str,
    progress: Callable[[int], object] = lambda decisions: None,
) -> tuple[int, list[int]]:
    """Erase these decisions with their reviews, some in each transaction.

    Returns how many were not erased before, and the positions of damaged records that could not be erased.

    Whoever breaks off has erased the first of them, and erases the others by asking again. Raises
    JournalError, among them Held: then none is erased, unless somebody holds one meanwhile.
    """
    pages = [decisions[start : start + _TOGETHER] for start in range(0, len(decisions), _TOGETHER)]
    with journal.reading() as connection:
        for page in pages:
            _require_free(connection, page, 0)
    count, damaged = 0, list[int]()
    try:
        with Writer(journal, process, code_version()) as writer:
            for page in pages:
                began = time.monotonic()
                with writer.group() as group:
                    _require_free(group.connection, page, count)
                    told = _erased_of(group.connection, page, by, why, damaged)
                    if told:
                        group.append([one.entry() for one in told])
                count += len(told)
                progress(len(page))
                _let_others_write(began)
    except BaseException:
        if count:
            with contextlib.suppress(JournalError):
                leave_no_trace(journal)
        raise
    leave_no_trace(journal)
    return count, damaged


def _require_free(connection: sa.Connection, decisions: Sequence[bytes], erased: int) -> None:
    """Raises Refused, or Held. `erased`: how many others are erased already."""
    _require_decisions(connection, decisions)
    held = held_decisions(connection)
    for one in decisions:
        if one in held:
            raise Held(one, erased)


def _erased_of(
    connection: sa.Connection, decisions: Sequence[bytes], by: str, why: str, damaged: list[int]
) -> list[events.Erasure]:
    """Overwrite what is left of these. Return what is to be told of it.

    `damaged`: gets the positions of those that could not be.
    """
    found: dict[bytes | None, list[_Erasable]] = {}
    of_them = sa.or_(_columns.id.in_(decisions), _columns.subject.in_(decisions))
    for one in _erasable_records(connection, of_them):
        if one.is_erasable:
            found.setdefault(one.decision, []).append(one)
        else:
            damaged.append(one.position)
    told = []
    for decision, records in found.items():
        _overwrite(connection, records)
        taken = ranges.of(one.position for one in records)
        told.append(events.Erasure(by=by, why=why, ranges=taken, decision=decision))
    return told


def _let_others_write(began: float) -> None:
    """After a transaction that began then, for as long as it took: SQLite lets nobody queue for its lock."""
    time.sleep(max(_SHORTEST_PAUSE, time.monotonic() - began))


def erase_before(
    journal: Journal, moment: int, by: str, why: str, process: str, progress: Callable[[int], object]
) -> ByAge:
    """Erase all decisions from before the moment that are not held. Raises JournalError.

    A page of records is erased in a transaction: who breaks off has erased the pages so far.
    """
    count, kept, after, damaged = 0, 0, -1, list[int]()
    with Writer(journal, process, code_version()) as writer:
        while places := _places_before(journal, moment, after):
            began = time.monotonic()
            with writer.group() as group:
                held = held_decisions(group.connection)
                page = [*_erasable_records(group.connection, _columns.position.in_(places))]
                free = [one for one in page if one.decision not in held]
                old = {one.position: one for one in (*free, *_reviews_of(group.connection, free))}
                damaged += [position for position, one in old.items() if not one.is_erasable]
                found = {position: one for position, one in old.items() if one.is_erasable}
                if found:
                    _overwrite(group.connection, found.values())
                    _tell(group, events.Erasure(by=by, why=why, ranges=ranges.of(sorted(found))))
            after = places[-1]
            count += sum(one.kind == Kind.RECEIPT for one in free if one.is_erasable)
            kept += sum(one.kind == Kind.RECEIPT for one in page if one.id in held)
            progress(len(places))
            _let_others_write(began)
    leave_no_trace(journal)
    return ByAge(count, kept, tuple(damaged))


def count_before(connection: sa.Connection, moment: int) -> int:
    """How many records there are to erase, those held among them."""
    query = sa.select(sa.func.count()).select_from(schema.record).where(_columns.time < moment, *_ERASABLE)
    return connection.execute(query).scalar_one()


def held_decisions(connection: sa.Connection) -> set[bytes]:
    """A damaged hold still holds: only its kind and its decision are read."""
    about = (_columns.position, _columns.kind, _columns.subject)
    is_about_holds = _columns.kind.in_([int(Kind.HOLD), int(Kind.RELEASE)])
    held: set[bytes] = set()
    for page in reading.pages(connection, about, is_about_holds, _columns.kind != int(Kind.RECEIPT)):
        for _, kind, subject in page:
            if subject is not None:
                (held.add if kind == Kind.HOLD else held.discard)(subject)
    return held


def hold(journal: Journal, decision: bytes, by: str, why: str, process: str) -> None:
    """Refuse every erasure of the decision from now on. Raises JournalError."""
    _note(journal, events.Hold(decision=decision, by=by, why=why), process)


def release(journal: Journal, decision: bytes, by: str, why: str, process: str) -> None:
    """Allow erasures of the decision again. Raises JournalError."""
    _note(journal, events.Release(decision=decision, by=by, why=why), process)


def leave_no_trace(journal: Journal) -> None:
    """Remove what was overwritten from SQLite's log, or from PostgreSQL's table. Raises Unavailable.

    SQLite waits for whoever reads, and keeps writers waiting meanwhile: so each attempt is short.
    """
    with journal.outside_transactions() as connection:
        if not journal.is_sqlite:
            connection.exec_driver_sql("VACUUM (FULL) record")
            return
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {_CLEARING_MILLISECONDS}")
        until = time.monotonic() + journal.patience
        while connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]:
            if time.monotonic() > until:
                raise Unavailable(_STILL_IN_THE_LOG)
            time.sleep(_BETWEEN_ATTEMPTS)


def _note(journal: Journal, event: events.Hold | events.Release, process: str) -> None:
    with Writer(journal, process, code_version()) as writer, writer.group() as group:
        _require_decisions(group.connection, [event.decision])
        found = reading.find(group.connection, event.decision)
        if isinstance(event, events.Hold) and found is not None and found.is_erased:
            raise Refused(f"decision {ids.written(event.decision)} is erased: nothing is left to hold")
        if (event.decision in held_decisions(group.connection)) == isinstance(event, events.Hold):
            state = "held already" if isinstance(event, events.Hold) else "not held"
            raise Refused(f"decision {ids.written(event.decision)} is {state}")
        _tell(group, event)


def _tell(group: Group, event: events.Event) -> None:
    group.append([event.entry()])


def _require_decisions(connection: sa.Connection, decisions: Sequence[bytes]) -> None:
    query = sa.select(_columns.id).where(_columns.id.in_(decisions), _columns.kind == int(Kind.RECEIPT))
    there = {*connection.execute(query).scalars()}
    for decision in decisions:
        if decision not in there:
            raise Refused(f"no decision of the journal has the id {ids.written(decision)}")


def _erasable_records(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> Iterable[_Erasable]:
    wanted = (_columns.position, _columns.kind, _columns.id, _columns.subject, _columns.erasable)
    for page in reading.pages(connection, wanted, *_ERASABLE, *conditions):
        yield from itertools.starmap(_Erasable, page)


def _places_before(journal: Journal, moment: int, after: int) -> list[int]:
    """The positions of a page of records from before the moment, looked for while others write."""
    conditions = (*_ERASABLE, _columns.time < moment, _columns.position > after)
    with journal.reading() as connection:
        return [
            row[0]
            for row in next(reading.pages(connection, [_columns.position], *conditions, size=_TOGETHER), [])
        ]


def _reviews_of(connection: sa.Connection, decisions: Iterable[_Erasable]) -> Iterable[_Erasable]:
    """Also the younger ones: their reasons speak of what the decisions hold."""
    own_ids = [one.id for one in decisions if isinstance(one.id, bytes)]
    return _erasable_records(connection, _columns.subject.in_(own_ids))


def _overwrite(connection: sa.Connection, found: Iterable[_Erasable]) -> None:
    rows = [{"place": one.position, "rest": record.erased(one.salted)} for one in found]
    statement = schema.record.update().where(_columns.position == sa.bindparam("place"))
    connection.execute(statement.values(is_erased=1, erasable=sa.bindparam("rest")), rows)
