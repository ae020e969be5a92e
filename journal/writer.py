"""Writes groups of records durably: each group whole or not at all, in one order with all other writers.

Every writer has a number and counts its own records from 0. The lock on the journal's row lets one writer at
a time put its group behind all others; tree and numbers are read under it, so that a writer remembers nothing
that another could have changed.
"""

import contextlib
import functools
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa

from journal import events, own_row, record, schema
from journal.errors import UNFIT, Damaged, OtherSchema, Twice
from journal.events import Event
from journal.models import NO_MODEL, Model
from journal.receipt import Receipt
from journal.record import HASH_BYTES, SALT_BYTES, Entry, Kind
from journal.statements import Prepared
from journal.store import Journal
from journal.tree import Frontier


@dataclass(frozen=True)
class Left:
    """How a writer left the journal. `number`: its own; `sequence`: its next, None where a commit failed.

    `models`: the numbers of descriptions, by their digests.
    """

    origin: str = ""
    number: int | None = None
    sequence: int | None = None
    models: Mapping[bytes, int] = field(default_factory=dict)


_NOTHING = Left()

_last_sequence = (
    sa.select(sa.func.max(schema.record.c.sequence))
    .where(schema.record.c.writer == sa.bindparam("own"))
    .scalar_subquery()
)
# The form, too: whoever waited for the lock may have waited for a migration.
_form = sa.select(schema.version.c.version_num).scalar_subquery()
_STATE = Prepared(
    sa.select(schema.journal, _last_sequence.label("last"), _form.label("form")).with_for_update(
        of=schema.journal
    ),
    ["own"],
)
_INSERT = Prepared(schema.record.insert(), schema.record.c.keys())
_COMMITMENT, _NOT_ERASED, _NOT_REVIEWED = schema.record.c.keys().index("commitment"), 0, 0
_KEPT = ("size", "writers", "frontier")
_UPDATE = Prepared(schema.journal.update().values({name: sa.bindparam(name) for name in _KEPT}), _KEPT)


class _State(NamedTuple):
    """The journal's row, and the last sequence of a writer."""

    origin: str
    size: int
    writers: int
    frontier: bytes
    last: int | None
    form: str


class Writer:
    """One writer of a journal, used by one thread. `process`: which program writes; `code`: its version.

    It takes its number with its first group, and says at the end that it ended. Where the journal is not as
    this writer left it, because a backup was restored beneath it, it begins anew.
    """

    def __init__(self, journal: Journal, process: str, code: str) -> None:
        self._journal, self._process, self._code = journal, process, code
        self._left = _NOTHING

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, what: Sequence[Receipt | Event]) -> None:
        """Return when all are on the disk. Otherwise none of them is: raises JournalError or CannotKeep.

        Where the connection breaks during a commit, PostgreSQL may have written them nevertheless.
        """
        self.append_entries([one.entry() for one in what])

    def append_entries(self, entries: Sequence[Entry]) -> None:
        """The same, for what another process has made entries of. Raises JournalError."""
        if entries:
            with self.group() as group:
                group.append(entries)

    @contextmanager
    def group(self) -> Iterator["Group"]:
        """A transaction for records, and for changes that they tell of. Raises JournalError."""
        left = self._left
        self._left = Left(left.origin, left.number, None, left.models)
        with self._journal.writing() as connection:
            group = Group(connection, left)
            if group.is_first:
                group.append([self._start(group.origin).entry()])
            yield group
            group.finish()
        self._journal.require_in_place()
        self._left = group.left

    def rehearse(self, entries: Sequence[Entry]) -> None:
        """Write these and take them back. Raises JournalError where they cannot be written in earnest."""
        with contextlib.suppress(_TakenBack, Twice), self.group() as group:
            group.append(entries)
            raise _TakenBack

    def holds(self, entries: Sequence[Entry]) -> bool:
        """Whether all of these are in the journal already. Raises JournalError."""
        with self._journal.reading() as connection:
            return all(map(functools.partial(_is_there, connection), entries))

    def close(self) -> None:
        """Raises JournalError."""
        if self._left.number is not None:
            self.append([events.End()])
            self._left = _NOTHING

    def _start(self, origin: str) -> events.Start:
        library = " ".join(platform.libc_ver()).strip() or platform.system()
        return events.Start(journal=origin, process=self._process, code=self._code, c_library=library)


class _TakenBack(Exception):
    """Ends a transaction that shall leave nothing."""


class Group:
    """What one transaction appends. `is_first`: of a writer that takes its number with it."""

    def __init__(self, connection: sa.Connection, left: Left) -> None:
        self.connection = connection
        row = _state(connection, left.number)
        self.origin: str = row.origin
        self._frontier = _frontier(row.size, row.frontier)
        self.is_first = not _is_as_left(row, left)
        if self.is_first:
            row = _state(connection, row.writers)
        self._writers: int = row.writers + self.is_first
        self.writer: int = row.writers if self.is_first or left.number is None else left.number
        self.sequence = _after(row.last)
        # Where a commit failed, and may have come to nothing, so may descriptions that were stored with it.
        self._models = {} if self.is_first or left.sequence is None else dict(left.models)

    @property
    def left(self) -> Left:
        """What the writer remembers, once the transaction is on the disk."""
        return Left(self.origin, self.writer, self.sequence, self._models)

    @property
    def size(self) -> int:
        return self._frontier.size

    @property
    def root(self) -> bytes:
        return self._frontier.root()

    def append(self, entries: Sequence[Entry]) -> None:
        numbers = [self._number_of(entry.model) for entry in entries]
        first = self._frontier.size
        salts = os.urandom(SALT_BYTES * len(entries))
        rows = [
            _row(
                entry,
                salts[SALT_BYTES * place : SALT_BYTES * (place + 1)],
                first + place,
                self.writer,
                self.sequence + place,
                number,
            )
            for place, (entry, number) in enumerate(zip(entries, numbers, strict=True))
        ]
        completed = self._frontier.extend(row[_COMMITMENT] for row in rows)
        self.sequence += len(rows)
        _INSERT.write(self.connection, rows)
        if reviews := [entry for entry in entries if entry.kind == Kind.REVIEW]:
            self._mark_reviewed(reviews)
        if completed:
            names = ("level", "number", "root")
            rows_of_subtrees = [dict(zip(names, one, strict=True)) for one in completed]
            self.connection.execute(schema.subtree.insert(), rows_of_subtrees)

    def finish(self) -> None:
        """Write down the tree, behind which the next group goes."""
        kept = self._frontier.size, self._writers, b"".join(self._frontier.roots)
        _UPDATE.write(self.connection, [kept])

    def _mark_reviewed(self, reviews: Sequence[Entry]) -> None:
        own_ids = [one.subject for one in reviews]
        of_them = schema.record.update().where(schema.record.c.id.in_(own_ids), schema.is_receipt)
        self.connection.execute(of_them.values(is_reviewed=1))

    def _number_of(self, model: Model | None) -> int | None:
        """The number of the model's description, which is stored with the first record that needs it."""
        if model is None:
            return None
        digest = model.description_digest
        number = self._models.get(digest)
        if number is None:
            number = self._models[digest] = self._stored(model)
        return number

    def _stored(self, model: Model) -> int:
        table = schema.model.c
        known = sa.select(table.number).where(table.digest == model.description_digest)
        number: int | None = self.connection.execute(known).scalar()
        if number is None:
            number = self.connection.execute(
                sa.select(sa.func.count()).select_from(schema.model)
            ).scalar_one()
            values = {"number": number, "description": model.description, "digest": model.description_digest}
            self.connection.execute(schema.model.insert(), values)
        if not isinstance(number, int):
            raise Damaged(UNFIT)
        return number


def _state(connection: sa.Connection, own: int | None) -> _State:
    """With the journal's lock, and the last sequence of the writer of this number.

    Raises Damaged, or OtherSchema.
    """
    rows = _STATE.read(connection, (own,))
    if own_row.fault([row[:-2] for row in rows]):
        raise Damaged(UNFIT)
    found = _State(*rows[0])
    if not (isinstance(found.form, str) and isinstance(found.last, int | None)):
        raise Damaged(UNFIT)
    if found.form != schema.REVISION:
        raise OtherSchema(f"the journal has got the form {found.form} meanwhile: start again with its code")
    return found


def _is_as_left(row: _State, left: Left) -> bool:
    """Whether the journal is as the writer left it. Nobody else writes in its name.

    With its last record, all that was on the disk before it is there: so are the models that it remembers.
    """
    if left.number is None or left.number >= row.writers or left.origin != row.origin:
        return False
    return left.sequence in (None, _after(row.last))


def _after(last: int | None) -> int:
    return 0 if last is None else last + 1


def _is_there(connection: sa.Connection, entry: Entry) -> bool:
    """Whether a record has this id and this content, or what an erasure left of it."""
    one = schema.record.c
    query = sa.select(one.kind, one.time, one.lasting, one.is_erased, one.erasable).where(one.id == entry.id)
    found = connection.execute(query).one_or_none()
    if found is None or found[:3] != (int(entry.kind), entry.time, entry.lasting):
        return False
    if found.is_erased:
        return True
    return isinstance(found.erasable, bytes) and found.erasable[SALT_BYTES:] == entry.erasable


def _frontier(size: int, joined: bytes) -> Frontier:
    """Raises Damaged."""
    try:
        if len(joined) % HASH_BYTES:
            raise ValueError("no whole hashes")
        roots = [joined[start : start + HASH_BYTES] for start in range(0, len(joined), HASH_BYTES)]
        return Frontier(size, roots)
    except ValueError:
        raise Damaged(UNFIT) from None


def _row(
    entry: Entry, salt: bytes, position: int, writer: int, sequence: int, model_number: int | None
) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    kind, own_id, time, lasting, erasable, model, label, subject = entry
    salted = salt + erasable
    head = record.head(kind, label, writer, sequence, time, own_id, subject)
    digest = NO_MODEL if model is None else model.description_digest
    commitment = record.commitment(head, digest, record.seal(salted), lasting)
    of_it = position, int(kind), label, writer, sequence, time, own_id, subject, model_number
    return (*of_it, _NOT_ERASED, commitment, lasting, salted, _NOT_REVIEWED)
