"""A registry in a SQLite file: where it is, how it is made whole, and written by one at a time."""

import fcntl
import glob
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from mlflow import MlflowClient

from mlflow_model import files
from mlflow_model.errors import LoadingFailed, OutOfReach
from mlflow_model.registry import store

_LONGEST_WRITING_SECONDS = 300.0
_SILENT_SECONDS = 3.0
_TABLES = {"alembic_version", "experiments", "runs"}  # some of MLflow's, in all of its versions


def is_absent() -> bool:
    place = store.sqlite_file()
    return place is not None and not place.exists()


def make_if_absent() -> None:
    """Make the file with all of MLflow's tables; it appears whole or not at all.

    MLflow would make them in place for seconds, and could not go on with what it had made until an
    interruption. To be called `alone`: what a killed command left is removed. Raises OutOfReach if the file
    or its folder is read-only, and what MLflow raises.
    """
    place = store.sqlite_file()
    if place is None:
        return
    _check_writable(place)
    if not place.exists():
        beginning = f".{place.name}-unfinished-"
        for abandoned in place.parent.glob(f"{glob.escape(beginning)}*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=beginning, dir=place.parent) as unfinished:
            new = Path(unfinished) / place.name
            MlflowClient(store.uri_of(new)).search_experiments(max_results=1)
            files.settle(new)
            _forget_journals(place)
            new.rename(place)


def _forget_journals(place: Path) -> None:
    """SQLite would replay what was left beside a file that is gone, into the new one."""
    for end in ("-journal", "-wal", "-shm"):
        place.with_name(place.name + end).unlink(missing_ok=True)


def check_is_a_registry() -> None:
    """Raises LoadingFailed for a file that holds something else, to which MLflow would add its tables."""
    place = store.sqlite_file()
    if place is None or not place.exists() or not place.stat().st_size:
        return
    try:
        with closing(sqlite3.connect(f"{place.as_uri()}?mode=ro", uri=True)) as opened:
            found = {name for (name,) in opened.execute("SELECT name FROM sqlite_master")}
        fits = not found or found >= _TABLES
    except sqlite3.OperationalError:  # locked, or out of reach: MLflow tells
        fits = True
    except sqlite3.DatabaseError:
        fits = False
    if not fits:
        raise LoadingFailed(
            f"« {place.name} » n’est pas un registre de MLflow ; vérifiez MLFLOW_TRACKING_URI"
        )


def _check_writable(registry: Path) -> None:
    """SQLite keeps its journal in the folder."""
    for place in (registry, registry.parent):
        if place.exists() and not os.access(place, os.W_OK):
            raise OutOfReach(
                f"ouverture du registre : « {place.name} » est en lecture seule ; vérifiez ses droits, "
                "ou nommez un autre registre (MLFLOW_TRACKING_URI)"
            )


@contextmanager
def alone() -> Iterator[None]:
    """Let one process at a time write to the file, also before it exists; others wait for some minutes.

    MLflow fails where two make its tables at once, and two that register one pickle would both find it new.
    Where the file system has no locks, nobody waits. Raises OutOfReach.
    """
    place = store.sqlite_file()
    with ExitStack() as locks:
        if place is not None:
            with suppress(OSError):
                folder = os.open(place.parent, os.O_RDONLY | os.O_CLOEXEC)
                locks.callback(os.close, folder)
                _wait_for_lock(folder)
        yield


def _wait_for_lock(folder: int) -> None:
    """Raises OutOfReach if another process keeps the lock, OSError if there is none to be had."""
    begun, is_said = time.monotonic(), False
    while True:
        try:
            return fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = time.monotonic() - begun
            if waited > _SILENT_SECONDS and not is_said:
                is_said = True
                sys.stderr.write("Waiting for another command that writes to the registry\n")
            if waited > _LONGEST_WRITING_SECONDS:
                raise OutOfReach(
                    "ouverture du registre : une autre commande y écrit depuis des minutes ; "
                    "attendez qu’elle ait fini"
                ) from None
            time.sleep(0.1)
