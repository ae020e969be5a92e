"""The journal's tables. Alembic makes them (`journal/migrations`); a test compares the two."""

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    and_,
    column,
    literal_column,
    table,
)

from journal.models import GREY, LABELS
from journal.record import Kind

VERSION_TABLE = "journal_version"  # Alembic's, by a name that MLflow's tables do not have
REVISION = "0004"  # of the schema that this code reads and writes

# SQLite keeps its rows in the order of a key of exactly this type.
_POSITION = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()
version = table(VERSION_TABLE, column("version_num", Text))

# One row: the journal's name, and the tree so far. `frontier`: the roots of `tree.Frontier`, joined.
journal = Table(
    "journal",
    metadata,
    Column("origin", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("writers", Integer, nullable=False),
    Column("frontier", LargeBinary, nullable=False),
)

model = Table(
    "model",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("description", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
)

# `erasable`: the salt and the part that can be erased; of an erased record, the seal and zeros.
# `is_reviewed`: of a receipt, whether a review tells of it. `verification` compares the two.
record = Table(
    "record",
    metadata,
    Column("position", _POSITION, primary_key=True, autoincrement=False),
    Column("kind", SmallInteger, nullable=False),
    Column("label", SmallInteger),
    Column("writer", Integer, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("id", LargeBinary, nullable=False),
    Column("subject", LargeBinary),
    Column("model", Integer),
    Column("is_erased", SmallInteger, nullable=False),
    Column("commitment", LargeBinary, nullable=False),
    Column("lasting", LargeBinary, nullable=False),
    Column("erasable", LargeBinary, nullable=False),
    Column("is_reviewed", SmallInteger, nullable=False, server_default="0"),
)


def _equals(column: Column[int], number: int) -> ColumnElement[bool]:
    """To the letter, and not as a parameter: a plan that is made for all parameters uses no partial index."""
    return column == literal_column(str(number))


is_receipt = _equals(record.c.kind, Kind.RECEIPT)
is_reviewed = _equals(record.c.is_reviewed, 1)
# In the grey zone, not reviewed and not erased.
is_open = and_(
    _equals(record.c.label, LABELS.index(GREY)),
    _equals(record.c.is_reviewed, 0),
    _equals(record.c.is_erased, 0),
)
Index("record_by_id", record.c.id, unique=True)
Index("record_by_sequence", record.c.writer, record.c.sequence, unique=True)
_place = (record.c.time, record.c.position)
for _name, _indexed, _where in (
    ("record_by_subject", (record.c.subject, record.c.kind), record.c.subject.is_not(None)),
    ("record_events", (record.c.kind,), record.c.kind != int(Kind.RECEIPT)),
    # Newest first, with all that decisions are chosen by: only rows that are wanted are read.
    ("record_by_time", (*_place, record.c.kind, record.c.label, record.c.model), is_receipt),
    ("record_open", _place, is_open),
    ("record_reviewed", _place, is_reviewed),
):
    Index(_name, *_indexed, sqlite_where=_where, postgresql_where=_where)

# The roots of complete subtrees of 2^level entries, for the levels that `tree.LEVELS_APART` keeps.
subtree = Table(
    "subtree",
    metadata,
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("root", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
