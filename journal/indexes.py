"""The indexes of the journal's tables: which are missing or others, and how they are made again."""

from collections.abc import Iterator

import sqlalchemy as sa

from journal import schema
from journal.errors import Damaged
from journal.store import Journal


def wrong(connection: sa.Connection) -> Iterator[sa.Index]:
    """Those that a table must have, and has not. Only their names and columns are looked at."""
    inspector = sa.inspect(connection)
    for table in schema.metadata.sorted_tables:
        there = {(one["name"], *one["column_names"]) for one in inspector.get_indexes(table.name)}
        for index in sorted(table.indexes, key=lambda one: str(one.name)):
            if (index.name, *index.columns.keys()) not in there:
                yield index


def mend(journal: Journal) -> int:
    """Make those again that `wrong` tells. Returns how many. Raises JournalError."""
    with journal.writing() as connection:
        made = list(wrong(connection))
        for index in made:
            connection.execute(sa.schema.DropIndex(index, if_exists=True))
            try:
                index.create(connection)
            except sa.exc.IntegrityError as error:
                raise Damaged(
                    f"two records are the same by {index.name}: python -m journal verify names them"
                ) from error
    return len(made)
