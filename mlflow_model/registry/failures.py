"""Puts the failures of a registry into words: what was tried, what is wrong, and what to do."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ErrorCode

from mlflow_model import machine
from mlflow_model.errors import LoadingFailed, NotInRegistry, OutOfReach


def _database_errors() -> tuple[type[Exception], ...]:
    """SQLAlchemy's. requirements-serve.txt leaves it out: a registry over HTTP needs no database here."""
    with suppress(ImportError):
        from sqlalchemy.exc import SQLAlchemyError

        return (SQLAlchemyError,)
    return ()


DATABASE_ERRORS = _database_errors()
FAILURES: tuple[type[Exception], ...] = (
    MlflowException,
    OSError,
    ImportError,
    MemoryError,
    *DATABASE_ERRORS,
)
NO_DRIVER = "le pilote de ce registre n’est pas installé ; passez par « mlflow server » (docs/operations.md)"
NOT_FOUND = 404
_MISSING = ErrorCode.Name(ErrorCode.Value("RESOURCE_DOES_NOT_EXIST"))
_NO_SUCH_VALUE = ErrorCode.Name(ErrorCode.Value("INVALID_PARAMETER_VALUE"))  # for an alias
_UNREACHABLE = "registre injoignable ; vérifiez MLFLOW_TRACKING_URI"
# What MLflow's messages, which quote requests and urllib3, say when no complete answer came.
_LOST = (
    "API request to",
    "timed out",
    "Connection broken",
    "Connection aborted",
    "Response ended prematurely",
    "Max retries exceeded",
)
_MEMORY_ENDS = (
    "la mémoire ne suffit pas pour ce que le registre répond ; libérez-en, ou vérifiez MLFLOW_TRACKING_URI"
)
# What the system, SQLite and MLflow say, and the sentence for it.
_WRONG_HERE = {
    (os.strerror(errno.ENOSPC), "database or disk is full"): "le disque est plein ; libérez de la place",
    (os.strerror(errno.EDQUOT),): "le quota du disque est épuisé ; libérez de la place",
    (
        os.strerror(errno.EFBIG),
    ): "un fichier ne peut pas devenir plus gros (ulimit -f) ; relevez cette limite",
    (
        "disk I/O error",  # also where a limit of the system ends SQLite's file
    ): "le disque refuse d’écrire le registre ; libérez de la place, relevez « ulimit -f », ou vérifiez-le",
    (
        os.strerror(errno.EROFS),
        "attempt to write a readonly database",
    ): "le registre est en lecture seule ; vérifiez les droits de son fichier et de son dossier",
    (
        "out-of-date database schema",
    ): "le registre est d’une autre version de MLflow ; lancez « mlflow db upgrade »",
    (
        ") already exists\n",
        "duplicate column name",
    ): "la création du registre a été interrompue ; supprimez son fichier, et recommencez",
    machine.NO_MEMORY: _MEMORY_ENDS,
}


@contextmanager
def in_words(attempt: str) -> Iterator[None]:
    """Turn a failure of the registry into a sentence that says what failed and what to do.

    MLflow's own text is left out. Raises LoadingFailed.
    """
    try:
        yield
    except FAILURES as error:
        raise said(attempt, error) from error


def said(attempt: str, error: Exception) -> LoadingFailed:
    if detail := wrong_here(error):
        return OutOfReach(f"{attempt} : {detail}")
    if isinstance(error, MlflowException):
        message = str(error.message)
        if any(sign in message for sign in _LOST):
            return OutOfReach(f"{attempt} : {_UNREACHABLE}")
        if error.error_code == _MISSING or (error.error_code == _NO_SUCH_VALUE and "not found" in message):
            return NotInRegistry(attempt)
        return LoadingFailed(f"{attempt} : refusé ; vérifiez MODEL_URI et MLFLOW_TRACKING_URI")
    if isinstance(error, ImportError):
        return LoadingFailed(f"{attempt} : {NO_DRIVER}")
    is_lost = isinstance(error, FileNotFoundError) or status(error) == NOT_FOUND
    return (LoadingFailed if is_lost else OutOfReach)(f"{attempt} : {_UNREACHABLE}")


def wrong_here(error: BaseException | None) -> str | None:
    """What is wrong with this machine, if that is the cause. MLflow wraps the first error in its own."""
    while error is not None:
        for signs, sentence in _WRONG_HERE.items():
            if any(sign in str(error) for sign in signs):
                return sentence
        if isinstance(error, MemoryError):
            return _MEMORY_ENDS
        error = error.__cause__ or error.__context__
    return None


def status(error: Exception) -> int | None:
    """The HTTP status of the answer, if there was one: `requests` attaches it to its OSError."""
    return getattr(getattr(error, "response", None), "status_code", None)
