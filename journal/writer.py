"""Writes groups of records durably: each group whole or not at all, in one order with all other writers.

Every writer has a number and counts its own records from 0. The lock on the journal's row lets one writer at
a time put its group behind all others; tree and numbers are read under it, so that a writer remembers nothing
that another could have changed.
"""

import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from journal import events, record, schema
from journal.events import Event
from journal.models import NO_MODEL, Model
from journal.receipt import Receipt
from journal.record import HASH_BYTES, Entry
from journal.store import Journal
from journal.tree import Frontier


class Writer:
    """One writer of a journal, used by one thread. `process`: which program writes; `code`: its version.

    It takes its number with its first group, and says at the end that it ended.
    """

    def __init__(self, journal: Journal, process: str, code: str) -> None:
        self._journal, self._process, self._code = journal, process, code
        self._number: int | None = None
        self._sequence: int | None = None  # the next; asked of the database after a failure
        self._models: dict[bytes, int] = {}

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
        sequence, self._sequence = self._sequence, None
        with self._journal.writing() as connection:
            group = Group(connection, self._number, sequence, self._models)
            if self._number is None:
                group.append([self._start(group.origin).entry()])
            yield group
            group.finish()
        self._number, self._sequence = group.writer, group.sequence
        self._models |= group.new_models

    def close(self) -> None:
        """Raises JournalError."""
        if self._number is not None:
            self.append([events.End()])
            self._number = self._sequence = None

    def _start(self, origin: str) -> events.Start:
        library = " ".join(platform.libc_ver()).strip() or platform.system()
        return events.Start(journal=origin, process=self._process, code=self._code, c_library=library)


class Group:
    """What one transaction appends. A writer without a number gets the next one.

    `sequence`: the writer's next, None if it is not known.
    """

    def __init__(
        self, connection: sa.Connection, writer: int | None, sequence: int | None, models: dict[bytes, int]
    ) -> None:
        self.connection, self._models = connection, models
        self.new_models: dict[bytes, int] = {}
        row = connection.execute(sa.select(schema.journal).with_for_update()).one()
        self.origin: str = row.origin
        self._frontier = frontier(row.size, row.frontier)
        self._writers = row.writers + (writer is None)
        self.writer: int = row.writers if writer is None else writer
        self.sequence = self._next_sequence() if sequence is None else sequence

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

    def _next_sequence(self) -> int:
        of_this_writer = schema.record.c.writer == self.writer
        last = sa.select(sa.func.max(schema.record.c.sequence)).where(of_this_writer)
        found = self.connection.execute(last).scalar()
        return 0 if found is None else found + 1

    def _number_of(self, model: Model | None) -> int | None:
        """The number of the model's description, which is stored with the first record that needs it."""
        if model is None:
            return None
        digest = model.description_digest
        number = self._models.get(digest, self.new_models.get(digest))
        if number is None:
            number = self.new_models[digest] = self._stored(model)
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
