"""Decisions are found by their time, and by whether they are reviewed, without reading their rows."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.drop_index("record_uncertain", "record")
    op.drop_index("record_by_subject", "record")
    _create_partial_index("record_by_subject", ["subject", "kind"], "subject IS NOT NULL")
    _create_partial_index("record_by_time", ["time", "position", "kind", "label", "model"], "kind = 1")
    _create_partial_index("record_uncertain", ["time", "position"], "label = 1")


def _create_partial_index(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "record", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
