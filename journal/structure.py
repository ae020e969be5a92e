"""What the database has beside records: tables, an own row, indexes, and what is not the journal's own.

A trigger, or a column more, could keep elsewhere what an erasure takes, and no record would show it.
"""

import re
from collections.abc import Callable, Iterator

import sqlalchemy as sa

from journal import own_row, schema
from journal.errors import Damaged
from journal.plural import counted
from journal.store import Journal

_OF_SQLITE = sa.text("SELECT type, name FROM sqlite_master")
# What SQLite itself makes. Any other object may be given such a name by who writes into its schema.
_SQLITES_OWN = re.compile(r"table sqlite_(sequence|stat[1-4])|index sqlite_autoindex_\w+_[0-9]+")
_OF_POSTGRESQL = sa.text(
    "SELECT 'trigger', tgname FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = ANY("
    "SELECT to_regclass(one) FROM unnest(CAST(:tables AS text[])) AS one)"
)
_COLUMNS = {table.name: set(table.c.keys()) for table in (*schema.metadata.sorted_tables, schema.version)}


def missing(connection: sa.Connection) -> list[str]:
    """The tables and columns without which no record is read, each as a sentence."""
    there = _columns(connection)
    found = [f"the table {name!r} is missing" for name in sorted(_COLUMNS.keys() - there.keys())]
    for table, columns in there.items():
        found += [f"the column '{table}.{name}' is missing" for name in sorted(_COLUMNS[table] - columns)]
    return found


def fault_of_own_row(connection: sa.Connection) -> str | None:
    """Why nothing can be appended to what the journal's own row tells. The table must be there."""
    return own_row.fault([tuple(row) for row in connection.execute(sa.select(schema.journal))])


def require_sound(journal: Journal) -> None:
    """Raises Damaged with the first reason why no writer may go on. The records are not looked at."""
    with journal.reading() as connection:
        found = next(iter(missing(connection)), None) or fault_of_own_row(connection)
        found = found or _fault_of_the_end(connection)
    if found is not None:
        raise Damaged(f"{found}: restore a backup; python -m journal verify says more")


def _fault_of_the_end(connection: sa.Connection) -> str | None:
    size = connection.execute(sa.select(schema.journal.c.size)).scalar_one()
    last = connection.execute(sa.select(sa.func.max(schema.record.c.position))).scalar()
    if size == (0 if last is None else last + 1):
        return None
    return f"the journal has {counted(size, 'record')} by its own count, and its records end elsewhere"


def foreign(connection: sa.Connection) -> list[str]:
    """What is not the journal's own, each as a sentence."""
    return [_said(kind, name) for kind, name in _foreign(connection)]


def copies(connection: sa.Connection) -> list[str]:
    """What of it may keep what was erased. An index does not: its entry goes with what it is of."""
    return [_said(kind, name) for kind, name in _foreign(connection) if kind != "index"]


def _said(kind: str, name: str) -> str:
    return f"the {kind} {name!r} is not the journal's own: it may change or keep what is written"


def _foreign(connection: sa.Connection) -> list[tuple[str, str]]:
    """As its kind and name.

    A SQLite file is the journal's alone. In PostgreSQL its tables' columns and triggers count alone.
    """
    columns = [
        ("column", f"{table}.{name}")
        for table, names in _columns(connection).items()
        for name in names - _COLUMNS[table]
    ]
    if connection.dialect.name != "sqlite":
        found = connection.execute(_OF_POSTGRESQL, {"tables": [*_COLUMNS]})
        return sorted([(str(kind), str(name)) for kind, name in found] + columns)
    indexes = {str(index.name) for table in schema.metadata.tables.values() for index in table.indexes}
    own = {("table", name) for name in _COLUMNS} | {("index", name) for name in indexes}
    there = {(str(kind), str(name)) for kind, name in connection.execute(_OF_SQLITE)}
    return sorted([*(one for one in there - own if not _SQLITES_OWN.fullmatch(" ".join(one))), *columns])


def _columns(connection: sa.Connection) -> dict[str, set[str]]:
    """Those of each table of the journal that is there."""
    inspector = sa.inspect(connection)
    tables = _COLUMNS.keys() & {*inspector.get_table_names()}
    return {name: {column["name"] for column in inspector.get_columns(name)} for name in sorted(tables)}


def wrong_indexes(connection: sa.Connection) -> Iterator[sa.Index]:
    """Those that a table must have, and has not. Their conditions are not looked at."""
    inspector = sa.inspect(connection)
    for table in schema.metadata.sorted_tables:
        found = inspector.get_indexes(table.name)
        there = {(one["name"], bool(one["unique"]), *one["column_names"]) for one in found}
        for index in sorted(table.indexes, key=lambda one: str(one.name)):
            if (index.name, bool(index.unique), *index.columns.keys()) not in there:
                yield index


def mend_indexes(journal: Journal, begins: Callable[[str], object] = lambda name: None) -> int:
    """Make those again that `wrong_indexes` tells. Returns how many. Raises JournalError.

    `begins` is told the name of each before it is made: a million records take seconds.
    """
    with journal.writing() as connection:
        made = list(wrong_indexes(connection))
        for index in made:
            begins(str(index.name))
            connection.execute(sa.schema.DropIndex(index, if_exists=True))
            try:
                index.create(connection)
            except sa.exc.IntegrityError as error:
                raise Damaged(
                    f"two records are the same by {index.name}: python -m journal verify names them"
                ) from error
    return len(made)
