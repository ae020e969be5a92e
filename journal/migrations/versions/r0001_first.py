"""The first form: records, models, the tree, and the journal's own row."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "journal",
        sa.Column("origin", sa.Text, primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("writers", sa.Integer, nullable=False),
        sa.Column("frontier", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "model",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("description", sa.LargeBinary, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
    )
    position = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "record",
        sa.Column("position", position, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.SmallInteger, nullable=False),
        sa.Column("label", sa.SmallInteger),
        sa.Column("writer", sa.Integer, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("id", sa.LargeBinary, nullable=False),
        sa.Column("subject", sa.LargeBinary),
        sa.Column("model", sa.Integer),
        sa.Column("is_erased", sa.SmallInteger, nullable=False),
        sa.Column("commitment", sa.LargeBinary, nullable=False),
        sa.Column("lasting", sa.LargeBinary, nullable=False),
        sa.Column("erasable", sa.LargeBinary, nullable=False),
    )
    op.create_index("record_by_id", "record", ["id"], unique=True)
    op.create_index("record_by_sequence", "record", ["writer", "sequence"], unique=True)
    _create_partial_index("record_by_subject", "subject", "subject IS NOT NULL")
    _create_partial_index("record_events", "kind", "kind != 1")
    _create_partial_index("record_uncertain", "position", "label = 1")
    op.create_table(
        "subtree",
        sa.Column("level", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )


def _create_partial_index(name: str, column: str, where: str) -> None:
    op.create_index(name, "record", [column], sqlite_where=sa.text(where), postgresql_where=sa.text(where))
