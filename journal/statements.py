"""Statements whose SQL is made once and given to the driver: to make it anew takes longer than to run it."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

Row = tuple[Any, ...]


class Prepared:
    """A statement of SQLAlchemy. `names`: of the values that it binds, in the order in which it binds them.

    Neither values nor results are converted: integers, bytes, texts and nulls are those of the driver. What
    the driver raises is raised as by `sa.Connection.execute`.
    """

    def __init__(self, statement: sa.Select[Any] | sa.Insert | sa.Update, names: Sequence[str]) -> None:
        self._statement, self._names = statement, tuple(names)
        self._made: dict[str, tuple[str, bool]] = {}  # by dialect: the SQL, and whether values have no names

    def read(self, connection: sa.Connection, values: Row) -> Sequence[Row]:
        """What it selects."""
        sql, is_positional = self._sql(connection.dialect)
        cursor = connection.connection.cursor()
        try:
            cursor.execute(sql, values if is_positional else self._named(values))
            return cursor.fetchall()
        except connection.dialect.loaded_dbapi.Error as error:
            raise _raised(connection, error) from error
        finally:
            cursor.close()

    def write(self, connection: sa.Connection, rows: Sequence[Row]) -> None:
        """Run it once for each row of values."""
        sql, is_positional = self._sql(connection.dialect)
        cursor = connection.connection.cursor()
        try:
            cursor.executemany(sql, rows if is_positional else [*map(self._named, rows)])
        except connection.dialect.loaded_dbapi.Error as error:
            raise _raised(connection, error) from error
        finally:
            cursor.close()

    def _sql(self, dialect: sa.Dialect) -> tuple[str, bool]:
        found = self._made.get(dialect.name)
        if found is None:
            compiled = self._statement.compile(dialect=dialect)
            if compiled.positional and tuple(compiled.positiontup or ()) != self._names:
                raise ValueError(f"the statement binds {compiled.positiontup}")
            found = self._made[dialect.name] = str(compiled), compiled.positional
        return found

    def _named(self, values: Row) -> dict[str, Any]:
        return dict(zip(self._names, values, strict=True))


def _raised(connection: sa.Connection, error: Exception) -> BaseException:
    base = connection.dialect.loaded_dbapi.Error
    return DBAPIError.instance(None, None, error, base, hide_parameters=True, dialect=connection.dialect)
