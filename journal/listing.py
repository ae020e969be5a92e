"""Finds decisions by what is asked for without reading their values: time, label, version, open reviews."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from journal import reading, receipt, schema
from journal.models import GREY, LABELS
from journal.reading import Record
from journal.record import SALT_BYTES, Kind

_columns = schema.record.c
_PLACE = sa.tuple_(_columns.time, _columns.position)


@dataclass(frozen=True)
class Wanted:
    """Which decisions. `since`, `until`: microseconds since 1970; the end does not belong to it.

    `is_open`: in the grey zone, not reviewed, and not erased: nobody can review what is gone.
    `is_reviewed`: by anybody, once or more.
    """

    since: int | None = None
    until: int | None = None
    label: str | None = None
    version: str | None = None
    is_open: bool = False
    is_reviewed: bool = False

    def conditions(self, connection: sa.Connection) -> list[sa.ColumnElement[bool]]:
        is_grey = self.is_open or self.label == GREY  # nothing but a receipt has a label
        found: list[sa.ColumnElement[bool]] = [schema.is_grey if is_grey else schema.is_receipt]
        if self.since is not None:
            found.append(_columns.time >= self.since)
        if self.until is not None:
            found.append(_columns.time < self.until)
        if self.label not in (None, GREY):
            found.append(_columns.label == LABELS.index(self.label))
        if self.version is not None:
            found.append(_columns.model.in_(_numbers(connection, self.version)))
        if self.is_open:
            found += [~_is_reviewed(), _columns.is_erased == 0]
        if self.is_reviewed:
            found.append(_is_reviewed())
        return found


def _numbers(connection: sa.Connection, version: str) -> list[int]:
    known = reading.all_models(connection)
    return [number for number, model in known.items() if number is not None and model.version == version]


def _is_reviewed() -> sa.ColumnElement[bool]:
    review = schema.record.alias("review").c
    is_about_it = sa.and_(review.subject == _columns.id, review.kind == int(Kind.REVIEW))
    return sa.exists(sa.select(review.position).where(is_about_it))


def newest(
    connection: sa.Connection, wanted: Wanted, most: int, before: Record | None = None
) -> list[Record]:
    """The newest decisions, or the newest before one of them; the last one first.

    What is written meanwhile moves none of them to another page.
    """
    query = sa.select(_columns.position).where(*wanted.conditions(connection))
    if before is not None:
        query = query.where(sa.tuple_(before.time, before.position) > _PLACE)
    return _in_order(connection, query.order_by(_columns.time.desc(), _columns.position.desc()).limit(most))


def oldest(connection: sa.Connection, wanted: Wanted, most: int, after: Record | None = None) -> list[Record]:
    """The oldest decisions, or the oldest after one of them; the first one first."""
    query = sa.select(_columns.position).where(*wanted.conditions(connection))
    if after is not None:
        query = query.where(sa.tuple_(after.time, after.position) < _PLACE)
    return _in_order(connection, query.order_by(_columns.time, _columns.position).limit(most))


def _in_order(connection: sa.Connection, query: sa.Select[Any]) -> list[Record]:
    """The records at the positions that the query gives, in its order."""
    positions = connection.execute(query).scalars().all()
    found = {one.position: one for one in _at(connection, sorted(positions))}
    return [found[position] for position in positions]


def reviews_of(connection: sa.Connection, decisions: Sequence[bytes]) -> Iterator[Record]:
    """The reviews of these decisions, in their order."""
    for page in reading.records(
        connection, _columns.subject.in_(decisions), _columns.kind == int(Kind.REVIEW)
    ):
        yield from page


def of_reference(
    connection: sa.Connection,
    reference: str,
    *conditions: sa.ColumnElement[bool],
    progress: Callable[[int], object] = lambda receipts: None,
) -> list[Record]:
    """The decisions with this client reference, in their order; an erased one has none.

    All receipts are read, of which `progress` is told: no index holds a copy of theirs.
    """
    found: list[int] = []
    wanted = (_columns.position, _columns.erasable)
    unerased = (_columns.kind == int(Kind.RECEIPT), _columns.is_erased == 0)
    for page in reading.pages(connection, wanted, *unerased, *conditions):
        found += [
            position
            for position, salted in page
            if receipt.ends_with_reference(salted[SALT_BYTES:], reference)
        ]
        progress(len(page))
    return [
        one
        for one in _at(connection, found)
        if one.client is not None and one.client.client_reference == reference
    ]


def _at(connection: sa.Connection, positions: Sequence[int]) -> Iterator[Record]:
    for start in range(0, len(positions), reading.PAGE):
        places = positions[start : start + reading.PAGE]
        for page in reading.records(connection, _columns.position.in_(places)):
            yield from page


def count(connection: sa.Connection, wanted: Wanted) -> int:
    query = sa.select(sa.func.count()).select_from(schema.record).where(*wanted.conditions(connection))
    return connection.execute(query).scalar_one()


def all_of(connection: sa.Connection, wanted: Wanted) -> Iterator[list[Record]]:
    """All such decisions in their order, a page at a time."""
    return reading.records(connection, *wanted.conditions(connection))


def positions(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> Iterator[int]:
    for page in reading.pages(connection, [_columns.position], *conditions):
        for (position,) in page:
            yield position
