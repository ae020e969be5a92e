"""Which form the tables of a database have, and how an older one becomes that of this code."""

import re
import secrets
from pathlib import Path

import sqlalchemy as sa

from journal import schema
from journal.errors import Damaged, NoJournal, OtherSchema

_MIGRATIONS = Path(__file__).with_name("migrations")
_FORMLESS = (
    f"the journal's table {schema.VERSION_TABLE} does not tell the form of the others any more: restore a "
    "backup"
)
_REVISION = re.compile(r"(?!0000)[0-9]{4}")


def revision(connection: sa.Connection) -> str | None:
    """The number of the form of the tables; None where there is no journal. Raises Damaged."""
    tables = {*sa.inspect(connection).get_table_names()}
    if schema.VERSION_TABLE not in tables:
        if tables >= {schema.journal.name, schema.record.name}:
            raise Damaged(_FORMLESS)
        return None
    found = connection.execute(sa.select(schema.version.c.version_num)).scalars().all()
    if not (len(found) == 1 and isinstance(found[0], str) and _REVISION.fullmatch(found[0])):
        raise Damaged(_FORMLESS)
    return found[0]


def require_empty(connection: sa.Connection) -> None:
    """Make no journal among the tables of somebody else, such as MLflow's."""
    if tables := sa.inspect(connection).get_table_names():
        raise NoJournal(
            f"the database holds tables of something else ({min(tables)}, for instance): name an empty one"
        )


def require_current(connection: sa.Connection) -> None:
    """Raises NoJournal, OtherSchema or Damaged, unless this code can read and write the tables."""
    found = revision(connection)
    if found is None:
        raise NoJournal("the database holds no journal: python -m journal init makes one")
    require_not_newer(found)
    if found != schema.REVISION:
        raise OtherSchema(
            f"the journal has the older form {found}: python -m journal init brings it to {schema.REVISION}"
        )


def require_not_newer(found: str | None) -> None:
    """Raises OtherSchema."""
    if found is not None and found > schema.REVISION:
        raise OtherSchema(
            f"the journal has the newer form {found}, and this code knows {schema.REVISION}: update the code"
        )


def migrate(connection: sa.Connection, *, is_new: bool) -> None:
    """Bring the tables to the form of this code, and give a new journal its own row."""
    # Imported here: who opens a journal that is up to date starts sooner without it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    if is_new:
        origin = f"scoring-client/{secrets.token_hex(8)}"
        values = {"origin": origin, "size": 0, "writers": 0, "frontier": b""}
        connection.execute(schema.journal.insert(), values)
