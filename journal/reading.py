"""Reads records: one by its id, those about a decision, or all in their order, some thousand at a time."""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from journal import events, models, receipt, record, schema
from journal.errors import Damaged
from journal.models import LABELS, NO_MODEL, Model
from journal.record import HASH_BYTES, SALT_BYTES, Entry, Kind

PAGE = 5_000  # records in memory at a time

_columns = schema.record.c
OF_A_DAMAGED_ROW = (
    struct.error,
    AttributeError,
    IndexError,
    KeyError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)
_FIRST_TIME_WITHOUT_A_DATE = 253_402_300_800_000_000  # the year 10000, in microseconds since 1970
Damages = Callable[[int], object]
Models = Mapping[int | None, Model]


@dataclass(frozen=True, slots=True)
class Record:
    """One row. `salted`: the salt and the erasable part; of an erased record, its seal and zeros."""

    position: int
    kind: Kind
    label: int | None
    writer: int
    sequence: int
    time: int
    id: bytes
    subject: bytes | None
    model: Model | None
    is_erased: bool
    commitment: bytes
    lasting: bytes
    salted: bytes

    @property
    def head(self) -> bytes:
        return record.head(
            self.kind, self.label, self.writer, self.sequence, self.time, self.id, self.subject
        )

    @property
    def seal(self) -> bytes:
        return self.salted[:SALT_BYTES] if self.is_erased else record.seal(self.salted)

    @property
    def model_digest(self) -> bytes:
        return NO_MODEL if self.model is None else self.model.description_digest

    @property
    def is_intact(self) -> bool:
        """Whether it is what its commitment says. Whether that is in the tree, `verification` finds."""
        try:
            found = record.commitment(self.head, self.model_digest, self.seal, self.lasting)
        except OF_A_DAMAGED_ROW:
            return False
        return found == self.commitment

    @property
    def erasable(self) -> bytes:
        """Nothing, if it was erased."""
        return b"" if self.is_erased else self.salted[SALT_BYTES:]

    @property
    def decision(self) -> bytes | None:
        """The decision that it is, or is about."""
        return self.id if self.kind == Kind.RECEIPT else self.subject

    @property
    def event(self) -> events.Event:
        with readable(self.position):
            return events.read(
                Entry(
                    self.kind, self.id, self.time, self.lasting, self.erasable, self.model, None, self.subject
                )
            )

    @property
    def kept(self) -> receipt.Lasting:
        """Of a receipt, what no erasure takes."""
        with readable(self.position):
            if self.model is None or self.label is None:
                raise ValueError("no receipt")
            return receipt.lasting(self.model, self.label, self.lasting, self.subject or b"")

    @property
    def client(self) -> receipt.Erasable | None:
        """Of a receipt, what can be erased; None if it was."""
        with readable(self.position):
            if self.model is None:
                raise ValueError("no receipt")
            return None if self.is_erased else receipt.erasable(self.model, self.erasable)


def all_models(connection: sa.Connection) -> dict[int | None, Model]:
    """The models by their numbers. One whose description is damaged is left out, as its records are."""
    found: dict[int | None, Model] = {}
    for number, description in connection.execute(
        sa.select(schema.model.c.number, schema.model.c.description)
    ):
        with suppress(*OF_A_DAMAGED_ROW):
            found[number] = models.read(description)
    return found


def size(connection: sa.Connection) -> int:
    """How many records the journal says that it has; 0 where it says nothing of the kind."""
    found = connection.execute(sa.select(schema.journal.c.size)).scalar()
    return found if isinstance(found, int) else 0


def find(connection: sa.Connection, own_id: bytes) -> Record | None:
    (found,) = list(_records(connection, _columns.id == own_id)) or (None,)
    return found


def about(connection: sa.Connection, decision: bytes) -> list[Record]:
    """The reviews, erasures, holds and releases of a decision, in their order."""
    return list(_records(connection, _columns.subject == decision))


def of_kind(connection: sa.Connection, kind: Kind) -> Iterator[Record]:
    """All events of a kind that can be read, in their order. `verification` names the others."""
    is_of_it = (_columns.kind == int(kind), _columns.kind != int(Kind.RECEIPT))
    for page in records(connection, *is_of_it, damages=lambda position: None):
        yield from page


def pages(
    connection: sa.Connection,
    columns: Sequence[sa.ColumnElement[Any]],
    *conditions: sa.ColumnElement[bool],
    size: int = PAGE,
) -> Iterator[Sequence[Any]]:
    """These columns of all records, in the order of positions. The first column must be the position."""
    after = -1
    query = sa.select(*columns).where(*conditions).order_by(_columns.position).limit(size)
    while rows := connection.execute(query.where(_columns.position > after)).all():
        yield rows
        after = rows[-1][0]


def records(
    connection: sa.Connection,
    *conditions: sa.ColumnElement[bool],
    size: int = PAGE,
    damages: Damages | None = None,
) -> Iterator[list[Record]]:
    """All records that meet the conditions, in the order of positions, a page at a time.

    `damages` is told the position of each that cannot be read, which is left out. Without it, it is raised as
    Damaged.
    """
    known = all_models(connection)
    for rows in pages(connection, list(_columns), *conditions, size=size):
        yield [*_readable(rows, known, damages)]


def _readable(rows: Sequence[sa.Row[Any]], known: Models, damages: Damages | None) -> Iterator[Record]:
    for row in rows:
        try:
            yield _record(row, known)
        except Damaged:
            if damages is None:
                raise
            damages(row.position)


def _records(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> Iterator[Record]:
    for page in records(connection, *conditions):
        yield from page


def _record(row: sa.Row[Any], known: Models) -> Record:
    content = dict(row._mapping)
    model = content.pop("model")
    del content["is_reviewed"]  # its reviews tell it
    with readable(row.position):
        checked_head(row)
        content |= {
            "kind": Kind(row.kind),
            "is_erased": bool(row.is_erased),
            "model": None if model is None else known[model],
            "salted": content.pop("erasable"),
        }
    return Record(**content)


def checked_head(row: sa.Row[Any]) -> bytes:
    """The head of a row. Raises one of OF_A_DAMAGED_ROW, where a column holds what no writer puts there."""
    head = record.head(row.kind, row.label, row.writer, row.sequence, row.time, row.id, row.subject)
    if len(row.commitment) != HASH_BYTES:
        raise ValueError("a hash is of another length")
    if not 0 <= row.time < _FIRST_TIME_WITHOUT_A_DATE:
        raise ValueError("there is no such date")
    if row.label is not None and row.label >= len(LABELS):
        raise ValueError("there is no such label")
    if row.is_erased not in (0, 1) or len(row.erasable) < SALT_BYTES:
        raise ValueError("an erasable part is none")
    b"".join((head, row.id, row.subject or b"", row.commitment, row.lasting, row.erasable))  # only bytes fit
    return head


@contextmanager
def readable(position: int) -> Iterator[None]:
    """Raises Damaged, where a record has not the form that a writer gives it."""
    try:
        yield
    except OF_A_DAMAGED_ROW:
        raise damaged(position) from None


def damaged(position: int) -> Damaged:
    said = f"record {position} is damaged and cannot be read: python -m journal verify says more"
    return Damaged(said, position)
