"""Opens the registry that MLFLOW_TRACKING_URI names, and puts its failures into words."""

import errno
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ErrorCode
from mlflow.store.db.db_types import DATABASE_ENGINES

from mlflow_model import machine
from mlflow_model.errors import LoadingFailed, NotInRegistry, OutOfReach
from mlflow_model.registry import store

EXPERIMENT = "scoring-client"


def _database_errors() -> tuple[type[Exception], ...]:
    """SQLAlchemy's. requirements-serve.txt leaves it out: a registry over HTTP needs no database here."""
    with suppress(ImportError):
        from sqlalchemy.exc import SQLAlchemyError

        return (SQLAlchemyError,)
    return ()


_DATABASE_ERRORS = _database_errors()
FAILURES: tuple[type[Exception], ...] = (
    MlflowException,
    OSError,
    ImportError,
    MemoryError,
    *_DATABASE_ERRORS,
)
NOT_FOUND = 404
_FULL = (
    *(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)),
    "database or disk is full",  # SQLite's own word
)
_READ_ONLY = (os.strerror(errno.EROFS), "attempt to write a readonly database")
# What MLflow's messages, which quote requests and urllib3, say when no complete answer came.
_LOST = (
    "API request to",
    "timed out",
    "Connection broken",
    "Connection aborted",
    "Response ended prematurely",
    "Max retries exceeded",
)
_LONGEST_WRITING_SECONDS = 300.0
# With its own defaults MLflow waits for minutes before it gives up, or for as long as a server asks it to. It
# also keeps a SQLite file open, and goes on reading it after another file was put in its place.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}
_ALWAYS_OPENED_ANEW = {"MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool"}
_DISK_FULL = "le disque est plein ; libérez de la place"
_UNREACHABLE = "registre injoignable ; vérifiez MLFLOW_TRACKING_URI"
_BAD_DISK = "le disque refuse d’écrire le registre ; libérez de la place, ou vérifiez-le"
_WRITTEN_BY_ANOTHER = "une autre commande y écrit depuis des minutes ; attendez qu’elle ait fini"
_CANNOT_WRITE = "le registre est en lecture seule ; vérifiez les droits de son fichier et de son dossier"
_MEMORY_ENDS = (
    "la mémoire ne suffit pas pour ce que le registre répond ; libérez-en, ou vérifiez MLFLOW_TRACKING_URI"
)
_NO_DRIVER = "le pilote de ce registre n’est pas installé ; passez par « mlflow server » (docs/operations.md)"
_WRONG_HERE = {
    _FULL: _DISK_FULL,
    ("disk I/O error",): _BAD_DISK,  # SQLite's, also where a limit of the system ends a file
    _READ_ONLY: _CANNOT_WRITE,
    machine.NO_MEMORY: _MEMORY_ENDS,
}
_MISSING = ErrorCode.Name(ErrorCode.Value("RESOURCE_DOES_NOT_EXIST"))
_NO_SUCH_VALUE = ErrorCode.Name(ErrorCode.Value("INVALID_PARAMETER_VALUE"))  # for an alias


def connect(*, create: bool = False) -> MlflowClient:
    """A client of MLFLOW_TRACKING_URI, or else of this repository's own store, by absolute path.

    A store that is absent is made only with `create`: readers must not make one, and it takes seconds.
    """
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("mlflow.utils.git_utils").setLevel(logging.ERROR)  # git may well be absent
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # would show what `in_words` says
    anew = _ALWAYS_OPENED_ANEW if sqlite_file() is not None else {}
    for variable, value in (_PATIENCE | anew).items():
        os.environ.setdefault(variable, value)
    mlflow.set_tracking_uri(store.uri())
    _check_store()
    if is_absent() and not create:
        raise LoadingFailed("aucun registre de modèles : lancez « python register.py »")
    with in_words("ouverture du registre"):
        if create:
            _check_writable()
        return MlflowClient()


def _check_writable() -> None:
    """Raises OutOfReach if a SQLite store, or the folder where it keeps its journal, is read-only."""
    file = sqlite_file()
    if file is None:
        return
    for place in (file, file.parent):
        if place.exists() and not os.access(place, os.W_OK):
            raise OutOfReach(
                f"ouverture du registre : « {place.name} » est en lecture seule ; vérifiez ses droits, "
                "ou nommez un autre registre (MLFLOW_TRACKING_URI)"
            )


@contextmanager
def alone() -> Iterator[None]:
    """Let one process at a time write to a SQLite store, also before it exists; others wait for some minutes.

    MLflow fails where two make its tables at once, and two that register one pickle would both find it new.
    Where the file system has no locks, nobody waits. Raises OutOfReach.
    """
    file = sqlite_file()
    with ExitStack() as locks:
        if file is not None:
            with suppress(OSError):
                folder = os.open(file.parent, os.O_RDONLY | os.O_CLOEXEC)
                locks.callback(os.close, folder)
                _wait_for_lock(folder)
        yield


def _wait_for_lock(folder: int) -> None:
    """Raises OutOfReach if another process keeps the lock, OSError if there is none to be had."""
    deadline = time.monotonic() + _LONGEST_WRITING_SECONDS
    while True:
        try:
            return fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise OutOfReach(f"ouverture du registre : {_WRITTEN_BY_ANOTHER}") from None
            time.sleep(0.1)


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
        return LoadingFailed(f"{attempt} : {_NO_DRIVER}")
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


def experiment(client: MlflowClient) -> str | None:
    """The experiment, made on first use; None inside `mlflow run`, which has already chosen one."""
    if "MLFLOW_RUN_ID" in os.environ:
        return None
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        try:
            return str(client.create_experiment(EXPERIMENT, _artifact_root()))
        except MlflowException:  # two that find it absent both make it
            found = client.get_experiment_by_name(EXPERIMENT)
            if found is None:
                raise
    return str(found.experiment_id)


def _artifact_root() -> str | None:
    """Artifacts go beside a SQLite store, whatever the current folder. A server has a place of its own."""
    file = sqlite_file()
    return None if file is None else (file.parent / "mlartifacts").as_uri()


def sqlite_file() -> Path | None:
    scheme, separator, path = store.uri().partition("sqlite:///")
    return Path(path).absolute() if separator and not scheme else None


def _check_store() -> None:
    """Refuse at once a store that cannot be opened or would be forgotten: MLflow retries for minutes."""
    file = sqlite_file()
    if file is not None and (file.is_dir() or not file.parent.is_dir()):
        raise LoadingFailed("MLFLOW_TRACKING_URI ne nomme pas un fichier SQLite dans un dossier existant")
    if store.uri().startswith("sqlite:") and (file is None or file.name == ":memory:"):
        raise LoadingFailed("un registre en mémoire serait aussitôt oublié : nommez un fichier SQLite")
    engine = store.uri().partition(":")[0].partition("+")[0]
    if engine in DATABASE_ENGINES and not _DATABASE_ERRORS:
        raise LoadingFailed(f"ouverture du registre : {_NO_DRIVER}")


def is_absent() -> bool:
    file = sqlite_file()
    return file is not None and not file.exists()
