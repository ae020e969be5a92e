"""What the database has beside rows: indexes that are missing, and what is not the journal's own.

A trigger could keep elsewhere what an erasure takes, and no record would show it.
"""

from collections.abc import Iterator

import sqlalchemy as sa

from journal import schema
from journal.errors import Damaged
from journal.store import Journal

_OF_SQLITE = sa.text("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite!_%' ESCAPE '!'")
_OF_POSTGRESQL = sa.text(
    "SELECT 'trigger', tgname FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = ANY("
    "SELECT to_regclass(one) FROM unnest(CAST(:tables AS text[])) AS one)"
)


def foreign(connection: sa.Connection) -> list[tuple[str, str]]:
    """What is not the journal's own, as its kind and name.

    A SQLite file is the journal's alone. In PostgreSQL triggers on its tables count alone.
    """
    tables = [*schema.metadata.tables, schema.VERSION_TABLE]
    if connection.dialect.name != "sqlite":
        found = connection.execute(_OF_POSTGRESQL, {"tables": tables})
        return sorted((str(kind), str(name)) for kind, name in found)
    indexes = {str(index.name) for table in schema.metadata.tables.values() for index in table.indexes}
    own = {("table", name) for name in tables} | {("index", name) for name in indexes}
    found = connection.execute(_OF_SQLITE)
    return sorted({(str(kind), str(name)) for kind, name in found} - own)


def wrong_indexes(connection: sa.Connection) -> Iterator[sa.Index]:
    """Those that a table must have, and has not. Their conditions are not looked at."""
    inspector = sa.inspect(connection)
    for table in schema.metadata.sorted_tables:
        found = inspector.get_indexes(table.name)
        there = {(one["name"], bool(one["unique"]), *one["column_names"]) for one in found}
        for index in sorted(table.indexes, key=lambda one: str(one.name)):
            if (index.name, bool(index.unique), *index.columns.keys()) not in there:
                yield index


def mend_indexes(journal: Journal) -> int:
    """Make those again that `wrong_indexes` tells. Returns how many. Raises JournalError."""
    with journal.writing() as connection:
        made = list(wrong_indexes(connection))
        for index in made:
            connection.execute(sa.schema.DropIndex(index, if_exists=True))
            try:
                index.create(connection)
            except sa.exc.IntegrityError as error:
                raise Damaged(
                    f"two records are the same by {index.name}: python -m journal verify names them"
                ) from error
    return len(made)
