"""What Alembic runs to bring a journal up to date, on the connection that it is given."""

from alembic import context

from journal.schema import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
