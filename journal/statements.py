"""Statements whose SQL is made once: to make it anew takes longer than to run it."""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

Values = Mapping[str, Any]


class Prepared:
    """A statement of SQLAlchemy, of which all values are bound by name.

    Neither values nor results are converted: integers, bytes, texts and nulls are those of the driver.
    """

    def __init__(self, statement: sa.Select[Any] | sa.Insert | sa.Update) -> None:
        self._statement = statement
        self._made: dict[str, tuple[str, Callable[[Values], Any] | None]] = {}

    def execute(self, connection: sa.Connection, values: Values | Sequence[Values]) -> sa.CursorResult[Any]:
        """Run it with these values, or once for each of several. Raises what `sa.Connection.execute` does."""
        dialect = connection.dialect
        sql, in_order = self._made.get(dialect.name) or self._make(dialect)
        if in_order is None:
            return connection.exec_driver_sql(sql, values)
        if isinstance(values, Mapping):
            return connection.exec_driver_sql(sql, in_order(values))
        return connection.exec_driver_sql(sql, [*map(in_order, values)])

    def _make(self, dialect: sa.Dialect) -> tuple[str, Callable[[Values], Any] | None]:
        compiled = self._statement.compile(dialect=dialect)
        names = compiled.positiontup if compiled.positional else None
        made = str(compiled), None if names is None else _tuple_of(names)
        self._made[dialect.name] = made
        return made


def _tuple_of(names: Sequence[str]) -> Callable[[Values], Any]:
    if len(names) == 1:
        return lambda values: (values[names[0]],)
    return itemgetter(*names)
