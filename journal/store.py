"""Where the journal is, and how its database is made, opened and locked.

JOURNAL_URL names it: sqlite:///FILE, postgresql+psycopg://..., or off. The default is this repository's
journal.db. A SQLite file is for its owner alone, survives a power cut after each commit, and overwrites what
is deleted.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from journal import forms, schema
from journal.errors import NoJournal, Unavailable, in_words, opening_in_words
from mlflow_model import files

VARIABLE = "JOURNAL_URL"
OFF = "off"
ROOT = Path(__file__).resolve().parents[1]
PATIENCE_SECONDS = 30.0  # of a command that waits for a lock
IDLE_SECONDS = 5  # after which PostgreSQL takes the lock from a writer whose machine has vanished

Place = tuple[int, int]  # device and number, which tell a file from another one of its name

_DRIVERS = ("sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg")

_MOVED = "the journal was moved, replaced or deleted while it was written: put it back"
_SHORTER = (
    "the journal's file became shorter while it was written, as when a backup is copied over it: stop the "
    "service, restore the backup again, and remove {file}-wal and {file}-shm"
)
_NO_LOG = (
    "this file system cannot hold the log that SQLite keeps beside the journal, and shares between "
    "processes: name a file on a local disk"
)
_LOG_OF_ANOTHER = (
    "the journal was replaced, and beside it lies the log of the former one, which would damage it: put the "
    "former one back, or remove {file}-wal and {file}-shm"
)
_PAGES_OF_THE_LOG = 4_000  # 16 MiB, before they are moved into the file: each time costs two more waits
_PRAGMAS = (
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA trusted_schema = OFF",
    f"PRAGMA wal_autocheckpoint = {_PAGES_OF_THE_LOG}",
)


def is_off() -> bool:
    """Whether somebody said that nothing shall be recorded."""
    return os.environ.get(VARIABLE) == OFF


def address() -> URL:
    """The journal's URL, a SQLite file by its absolute path. Raises NoJournal."""
    if is_off():
        raise NoJournal(f"{VARIABLE}=off: nothing is recorded; name a database to have a journal")
    given = os.environ.get(VARIABLE)
    if not given:
        return URL.create("sqlite", database=str(ROOT / "journal.db"))
    try:
        url = sa.make_url(given)
    except (ArgumentError, ValueError):
        raise NoJournal(
            f"{VARIABLE} is no database's URL: sqlite:///FILE, or postgresql+psycopg://…"
        ) from None
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise NoJournal(f"{VARIABLE} must name a database of SQLite or PostgreSQL")
    if url.drivername not in _DRIVERS:
        raise NoJournal(f"{VARIABLE} must name no driver but psycopg, of PostgreSQL")
    if url.get_backend_name() != "sqlite":
        return url
    if url.database in (None, "", ":memory:"):
        raise NoJournal(f"{VARIABLE} must name a file: a journal in memory would be lost")
    if url.query or str(url.database).startswith("file:"):
        raise NoJournal(f"{VARIABLE} must be sqlite:///FILE, without options: some keep a journal in memory")
    return url.set(database=str(Path(str(url.database)).resolve()))


class Journal:
    """An open journal. Its connections belong to this process alone: open it again after a fork.

    `patience`: for how many seconds to wait for a lock, or for a server.
    """

    def __init__(self, url: URL, patience: float) -> None:
        self.is_sqlite, self.patience = url.get_backend_name() == "sqlite", patience
        self._file = _file(url)
        self._log = None if self._file is None else _log_of(self._file)
        self._place = None if self._file is None else _place_of(self._file)
        self._log_place: Place | None = None  # SQLite begins a log with the first transaction
        self._size = 0  # of the file, which only grows: nothing vacuums it
        self._is_shorter = False
        self._writes: sa.Connection | None = None
        arguments: dict[str, Any] = {"timeout": patience} if self.is_sqlite else _of_postgresql(patience)
        with opening_in_words():
            self._engine = sa.create_engine(url, connect_args=arguments, hide_parameters=True)
        if self.is_sqlite:
            sa.event.listen(self._engine, "connect", _prepare)
            sa.event.listen(self._engine, "begin", _begin)

    def close(self) -> None:
        self._end_writing()
        self._engine.dispose()

    def require_in_place(self) -> None:
        """Raises Unavailable where what was written is not where the next reader looks."""
        if not self.is_in_place:
            raise Unavailable(_SHORTER.format(file=self._file) if self._is_shorter else _MOVED)

    @property
    def is_in_place(self) -> bool:
        """Whether the file and its log are those that connections write to, not moved, replaced or deleted.

        Otherwise close this journal, and open it again by `reopened`.
        """
        if self._file is None or self._log is None:
            return True
        log = _place_of(self._log)
        self._log_place = self._log_place or log
        try:
            found = os.stat(self._file)  # noqa: PTH116 - once for each group of receipts, at half the price
        except OSError:
            return False
        if (found.st_dev, found.st_ino) != self._place:
            return False
        self._is_shorter = self._is_shorter or found.st_size < self._size
        self._size = found.st_size
        return not self._is_shorter and log is not None and log == self._log_place

    def require_room(self) -> None:
        """Raises Unavailable where another journal must not be opened in the place of this one."""
        if self._file is None or self._log is None:
            return
        is_the_same = _place_of(self._file) == self._place
        if is_the_same and self._is_shorter:
            raise Unavailable(_SHORTER.format(file=self._file))
        log = _place_of(self._log)
        if not is_the_same and self._file.exists() and log is not None and log == self._log_place:
            raise Unavailable(_LOG_OF_ANOTHER.format(file=self._file))

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """The journal as it is now, whatever others write meanwhile. Raises JournalError."""
        level = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        with self._connected(**level) as connection, connection.begin():
            if not self.is_sqlite:  # a reader holds no lock, and may take its time between two pages
                connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that is on the disk when it ends, or not there at all. Raises JournalError.

        Its connection is kept for the next one, as long as nothing fails.
        """
        if self._writes is None:
            with opening_in_words():
                self._writes = self._engine.connect().execution_options(begin="BEGIN IMMEDIATE")
        try:
            with in_words(), self._writes.begin():
                yield self._writes
        except BaseException:
            self._end_writing()
            raise

    def _end_writing(self) -> None:
        ended, self._writes = self._writes, None
        if ended is not None:
            with contextlib.suppress(SQLAlchemyError):  # of a connection that is broken
                ended.close()  # the pool tries it, and keeps it if it is sound

    @contextmanager
    def outside_transactions(self) -> Iterator[sa.Connection]:
        """For the commands of a database that no transaction may hold. Raises JournalError."""
        with self._connected(begin=None, isolation_level="AUTOCOMMIT") as connection:
            yield connection

    def keep_log(self) -> None:
        """Have SQLite write ahead into a log: some ways to make a backup forget it. Raises JournalError."""
        if not self.is_sqlite:
            return
        with self.outside_transactions() as connection:
            mode = connection.exec_driver_sql("PRAGMA journal_mode = WAL").scalar()
        if mode != "wal":
            raise Unavailable(_NO_LOG)

    @contextmanager
    def _connected(self, **options: Any) -> Iterator[sa.Connection]:
        with opening_in_words():
            connected = self._engine.connect()
        with in_words(), connected as connection:
            yield connection.execution_options(**options)


def _of_postgresql(patience: float) -> dict[str, Any]:
    settings = {
        "lock_timeout": f"{round(1_000 * patience)}ms",
        "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
        "synchronous_commit": "on",
    }
    return {
        "connect_timeout": max(2, round(patience)),  # libpq takes less than 2 seconds for 2
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
    }


def _prepare(connection: Any, _: object) -> None:
    connection.text_factory = _text
    connection.isolation_level = None  # the driver would begin transactions at moments of its own
    with closing(connection.cursor()) as cursor:
        for pragma in _PRAGMAS:
            cursor.execute(pragma)


def _text(content: bytes) -> str:
    """Also of bytes that are no text: one damaged value must not take away what is read with it."""
    return content.decode(errors="surrogateescape")


def _begin(connection: sa.Connection) -> None:
    """A writer takes the lock at once: one that reads first could not write after another has written."""
    statement = connection.get_execution_options().get("begin", "BEGIN")
    if statement is not None:
        connection.exec_driver_sql(statement)


# ---- Opening and making


def opened(patience: float = PATIENCE_SECONDS) -> Journal:
    """The journal that JOURNAL_URL names. Raises JournalError, with a sentence if it has to be made first."""
    url = address()
    file = _file(url)
    if file is not None and not file.exists():
        raise NoJournal(_absent(file))
    _require_file(file)
    found = Journal(url, patience)
    try:
        with found.reading() as connection:
            forms.require_current(connection)
        if file is not None and os.access(file, os.W_OK):
            found.keep_log()
        _tighten(file)
    except BaseException:
        found.close()
        raise
    return found


def reopened(former: Journal, patience: float = PATIENCE_SECONDS) -> Journal:
    """The journal in the place of one that was closed because it was not there any more.

    Raises JournalError, also where what lies there would be damaged by being opened.
    """
    former.require_room()
    try:
        return opened(patience)
    except NoJournal:
        raise Unavailable(_MOVED) from None


def make(
    patience: float = PATIENCE_SECONDS, begins: Callable[[str], object] = lambda form: None
) -> tuple[Journal, bool]:
    """The journal, made or brought up to date, and whether there was anything to do. Raises JournalError.

    `begins` is told the form of an older one before it is brought up to date.
    """
    url = address()
    file = _file(url)
    if file is not None and not file.exists():
        _begin_file(file)
    _require_file(file)
    found = Journal(url, patience)
    try:
        with found.writing() as connection:
            before = forms.revision(connection)
            if before is None:
                forms.require_empty(connection)
            if before != schema.REVISION:
                forms.require_not_newer(before)
                if before is not None:
                    begins(before)
                forms.migrate(connection, is_new=before is None)
        found.keep_log()
        _tighten(file)
        return found, before != schema.REVISION
    except BaseException:
        found.close()
        raise


def _file(url: URL) -> Path | None:
    """SQLite's; None for a server."""
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def _log_of(file: Path) -> Path:
    return Path(f"{file}-wal")


def _place_of(file: Path) -> Place | None:
    """None if there is none."""
    try:
        found = os.stat(file)  # noqa: PTH116 - once for each group of receipts, at half the price
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _absent(file: Path) -> str:
    way_out = "python -m journal init makes one" if file.parent.is_dir() else "nor is its folder"
    return f"there is no journal {file}: {way_out}"


def _require_file(file: Path | None) -> None:
    if file is not None and not file.is_file():
        raise NoJournal(f"{file} is no file: {VARIABLE} must name one")


def _begin_file(file: Path) -> None:
    """An empty file, for its owner alone."""
    if not file.parent.is_dir():
        raise NoJournal(_absent(file))
    with opening_in_words():
        files.write(file, b"")


def _tighten(file: Path | None) -> None:
    """Take from others what rights a copy gave them, also to what SQLite keeps beside it."""
    if file is None:
        return
    for one in (file, _log_of(file), Path(f"{file}-shm")):
        with opening_in_words(), contextlib.suppress(FileNotFoundError):
            found = one.stat()
            is_ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
            if is_ours and found.st_mode & 0o077:
                one.chmod(0o600)
