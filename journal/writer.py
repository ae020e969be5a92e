"""Writes groups of records durably: each group whole or not at all, in one order with all other writers.

Every writer has a number and counts its own records from 0. The lock on the journal's row lets one writer at
a time put its group behind all others; tree and numbers are read under it, so that a writer remembers nothing
that another could have changed.
"""

import functools
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from journal import events, record, schema
from journal.events import Event
from journal.models import NO_MODEL, Model
from journal.receipt import Receipt
from journal.record import HASH_BYTES, SALT_BYTES, Entry
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
        left, self._left = self._left, replace(self._left, sequence=None)
        with self._journal.writing() as connection:
            group = Group(connection, left)
            if group.is_first:
                group.append([self._start(group.origin).entry()])
            yield group
            group.finish()
        self._journal.require_in_place()
        self._left = group.left

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


class Group:
    """What one transaction appends. `is_first`: of a writer that takes its number with it."""

    def __init__(self, connection: sa.Connection, left: Left) -> None:
        self.connection = connection
        row = connection.execute(sa.select(schema.journal).with_for_update()).one()
        self.origin: str = row.origin
        self._frontier = frontier(row.size, row.frontier)
        known = left if self._is_as(left, row.writers) else _NOTHING
        self.is_first = known.number is None
        self._writers: int = row.writers + self.is_first
        self.writer: int = row.writers if known.number is None else known.number
        self.sequence = self._next_sequence(self.writer)
        self._models = dict(known.models)

    def _is_as(self, left: Left, writers: int) -> bool:
        """Whether the journal is as the writer left it. Nobody else writes in its name."""
        if left.number is None or left.number >= writers or left.origin != self.origin:
            return False
        if left.sequence not in (None, self._next_sequence(left.number)):
            return False
        numbers = schema.model.c.number.in_(left.models.values())
        there = sa.select(sa.func.count()).select_from(schema.model).where(numbers)
        return self.connection.execute(there).scalar_one() == len(left.models)

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
        rows = [
            _row(entry, first + place, self.writer, self.sequence + place, number)
            for place, (entry, number) in enumerate(zip(entries, numbers, strict=True))
        ]
        completed = self._frontier.extend(row["commitment"] for row in rows)
        self.sequence += len(rows)
        self.connection.execute(schema.record.insert(), rows)
        if completed:
            names = ("level", "number", "root")
            rows_of_subtrees = [dict(zip(names, one, strict=True)) for one in completed]
            self.connection.execute(schema.subtree.insert(), rows_of_subtrees)

    def finish(self) -> None:
        """Write down the tree, behind which the next group goes."""
        values = {
            "size": self._frontier.size,
            "writers": self._writers,
            "frontier": b"".join(self._frontier.roots),
        }
        self.connection.execute(schema.journal.update().values(values))

    def _next_sequence(self, writer: int) -> int:
        last = sa.select(sa.func.max(schema.record.c.sequence)).where(schema.record.c.writer == writer)
        found = self.connection.execute(last).scalar()
        return 0 if found is None else found + 1

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
        return number


def _is_there(connection: sa.Connection, entry: Entry) -> bool:
    """Whether a record has this id and this content, or what an erasure left of it."""
    one = schema.record.c
    query = sa.select(one.kind, one.time, one.lasting, one.is_erased, one.erasable).where(one.id == entry.id)
    found = connection.execute(query).one_or_none()
    if found is None or found[:3] != (int(entry.kind), entry.time, entry.lasting):
        return False
    return bool(found.is_erased) or found.erasable[SALT_BYTES:] == entry.erasable


def frontier(size: int, joined: bytes) -> Frontier:
    roots = [joined[start : start + HASH_BYTES] for start in range(0, len(joined), HASH_BYTES)]
    return Frontier(size, roots)


def _row(entry: Entry, position: int, writer: int, sequence: int, model: int | None) -> dict[str, Any]:
    erasable = record.salted(entry.erasable)
    head = record.head(entry.kind, entry.label, writer, sequence, entry.time, entry.id, entry.subject)
    digest = NO_MODEL if entry.model is None else entry.model.description_digest
    return {
        "position": position,
        "kind": int(entry.kind),
        "label": entry.label,
        "writer": writer,
        "sequence": sequence,
        "time": entry.time,
        "id": entry.id,
        "subject": entry.subject,
        "model": model,
        "is_erased": 0,
        "commitment": record.commitment(head, digest, record.seal(erasable), entry.lasting),
        "lasting": entry.lasting,
        "erasable": erasable,
    }
