"""Why a journal cannot be read, written or believed: one sentence each, with the way out."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    MultipleResultsFound,
    NoResultFound,
    NoSuchTableError,
    SQLAlchemyError,
    StatementError,
)

from mlflow_model import machine


class JournalError(Exception):
    """The message is a sentence, without the words of a library and without a client's value."""


class NoJournal(JournalError):
    """There is none at that place, or it was said that there shall be none."""


class OtherSchema(JournalError):
    """The tables are of an older or a newer form than this code's."""


class Unavailable(JournalError):
    """Locked, full, read-only or out of reach. Nothing of what was asked for is done."""


class Damaged(JournalError):
    """The file is not what a database wrote. `position`: of the record that is damaged, where it is known."""

    def __init__(self, sentence: str, position: int | None = None) -> None:
        super().__init__(sentence)
        self.position = position


class Refused(JournalError):
    """What was asked for must not be done, or makes no sense."""


class Twice(Refused):
    """One of the records is in the journal already; none of its group was written again."""

    def __init__(self) -> None:
        super().__init__("a record with this id is in the journal already")


_LOCKED = "the journal is locked by another process: try again, or end what holds it"
_FULL = "no room is left for the journal: free some, or raise the limit of its size"
_REFUSED_BY_DISK = "the disk refuses to read or write the journal: it may be full, limited or broken"
_READ_ONLY = "the journal is read-only here: check the rights of its file and folder"
_ABSENT = "the journal's file or folder cannot be opened: check JOURNAL_URL and the rights"
_SILENT = "the journal's database does not answer as it should: check JOURNAL_URL, and that it runs"
_NO_DATABASE = "the file is no database, or its beginning is damaged: check JOURNAL_URL, or restore a backup"
_DAMAGED = "the journal's file is damaged: restore the last backup beside it, and compare the two"
UNFIT = "the journal's tables do not fit each other: python -m journal verify says more"
# Of tables that are missing, or hold what the journal never writes. A DBAPIError is a StatementError, too.
_OF_DAMAGED_TABLES = (MultipleResultsFound, NoResultFound, NoSuchTableError, StatementError)
_OF_AN_UNKNOWN_NAME = ("SQLITE_ERROR", "42P01", "42703")  # of a table or a column: SQLite's, PostgreSQL's
# By the beginning of SQLite's extended code, or PostgreSQL's SQLSTATE.
_BY_CODE = {
    "SQLITE_BUSY": _LOCKED,
    "SQLITE_LOCKED": _LOCKED,
    "SQLITE_FULL": _FULL,
    "SQLITE_IOERR": _REFUSED_BY_DISK,
    "SQLITE_READONLY": _READ_ONLY,
    "SQLITE_CANTOPEN": _ABSENT,
    "55P03": _LOCKED,
    "53100": _FULL,
    "25006": _READ_ONLY,
}


@contextmanager
def in_words() -> Iterator[None]:
    """Say an error of the database as a JournalError. What a library says may hold what was to be written.

    What else fails meanwhile, such as another file, is not said in the journal's name.
    """
    try:
        yield
    except IntegrityError as error:
        raise (Twice() if _is_an_id_taken(error) else Damaged(UNFIT)) from None
    except DBAPIError as error:
        raise _said(error) from None
    except UnicodeDecodeError:  # of a damaged name in SQLite's own words
        raise Damaged(_DAMAGED) from None
    except _OF_DAMAGED_TABLES:
        raise Damaged(UNFIT) from None
    except SQLAlchemyError:
        raise Unavailable(_SILENT) from None


@contextmanager
def opening_in_words() -> Iterator[None]:
    """The same while the journal's own files are opened, and nothing else."""
    try:
        with in_words():
            yield
    except ModuleNotFoundError as error:
        raise NoJournal(
            f"JOURNAL_URL needs the driver {error.name}, which is not installed: take postgresql+psycopg://, "
            "and pip install 'psycopg[binary]'"
        ) from None
    except OSError as error:
        raise Unavailable(_ABSENT if machine.lacks_room(error) is None else _FULL) from None


def _is_an_id_taken(error: IntegrityError) -> bool:
    """Not a position or a number, which only writers give out."""
    diagnosis = getattr(error.orig, "diag", None)  # PostgreSQL's
    if diagnosis is None:
        return str(error.orig).endswith(" record.id")
    return bool(diagnosis.constraint_name == "record_by_id")


def _said(error: DBAPIError) -> JournalError:
    """SQLite has no code for text that is no text."""
    names = ("sqlite_errorname", "sqlstate")
    code = next((found for name in names if (found := getattr(error.orig, name, None))), "")
    if code.startswith("SQLITE_NOTADB"):
        return Damaged(_NO_DATABASE)
    if code in _OF_AN_UNKNOWN_NAME:
        return Damaged(UNFIT)
    for beginning, sentence in _BY_CODE.items():
        if code.startswith(beginning):
            return Unavailable(sentence)
    return Damaged(_DAMAGED) if isinstance(error.orig, sqlite3.Error) else Unavailable(_SILENT)
