"""Copies of versions that are not served any more: brought by a process that ends, and then kept."""

from pathlib import Path
from typing import NamedTuple

from api import logs
from api.deciding.places import Places, Room
from api.delivery.news import Copy
from api.reviewing.errors import DecidedByFile, VersionChanged, VersionGone, VersionOutOfReach
from mlflow_model import processes
from mlflow_model.errors import ExplanationTooSlow, ScoringError, TooManyExplanations

ROOM = Room(at_once=1, waiting=4, wait_seconds=10.0)
SECONDS = 60.0
_PROCESS = "api.reviewing.version_process"
_MOST_KEPT = 20


class Version(NamedTuple):
    """What a receipt says of the version that decided. `digest`: of its bundle."""

    name: str
    version: str | None
    digest: str


class PastVersions:
    """Brings copies into the cache, each of which has answered its golden rows in a process that may die."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._copies: dict[Version, Copy] = {}
        self._places = Places(ROOM, TooManyExplanations)

    def copy_of(self, wanted: Version) -> Copy:
        """Raises ScoringError: the version is gone or another one, or cannot be brought now."""
        if wanted.version is None:
            raise DecidedByFile
        with self._places.taken():
            copy = self._copies.get(wanted)
            if copy is None or not Path(copy.folder).is_dir():  # the cache keeps the newest only
                copy = _brought(wanted, wanted.version, self._cache)
                if len(self._copies) >= _MOST_KEPT:
                    self._copies.clear()
                self._copies[wanted] = copy
            return copy

    def forget(self, wanted: Version) -> None:
        self._copies.pop(wanted, None)


def _brought(wanted: Version, version: str, cache: Path) -> Copy:
    question = {**wanted._asdict(), "cache": str(cache)}
    try:
        said: dict[str, str] = processes.ask(_PROCESS, question, SECONDS, logs.descriptor())
    except TimeoutError as error:
        raise ExplanationTooSlow(SECONDS) from error
    except processes.NoAnswer as error:
        raise VersionOutOfReach from error
    if "folder" in said:
        return Copy(said["folder"], wanted.name, version)
    raise _refusal(said["refused"], wanted.name, version)


def _refusal(why: str, name: str, version: str) -> ScoringError:
    match why:
        case "gone":
            return VersionGone(name, version)
        case "changed":
            return VersionChanged(name, version)
    return VersionOutOfReach()
