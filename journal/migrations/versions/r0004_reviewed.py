"""A receipt says whether it was reviewed, so that what waits is found without a look at what was."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("record", sa.Column("is_reviewed", sa.SmallInteger, nullable=False, server_default="0"))
    op.execute(
        "UPDATE record SET is_reviewed = 1 WHERE kind = 1 "
        "AND id IN (SELECT subject FROM record WHERE kind = 3 AND kind != 1)"
    )
    op.drop_index("record_uncertain", "record")
    _create_partial_index("record_open", "label = 1 AND is_reviewed = 0 AND is_erased = 0")
    _create_partial_index("record_reviewed", "is_reviewed = 1")


def _create_partial_index(name: str, where: str) -> None:
    columns = ["time", "position"]
    op.create_index(name, "record", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
