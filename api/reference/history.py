"""What the registry says of the served version: asked by a process that ends, and remembered for a minute."""

import threading
import time
from typing import Any

from api import logs
from api.deciding.places import Places, Room
from api.delivery.served import Model
from api.reference.errors import EnquiryTooSlow, RegistryOutOfReach, TooManyEnquiries
from mlflow_model import processes
from mlflow_model.errors import ScoringError

_PROCESS = "api.reference.history_process"
SECONDS = 60.0
KEPT_SECONDS, REFUSAL_KEPT_SECONDS, SLOWNESS_KEPT_SECONDS = 60.0, 5.0, 60.0
ROOM = Room(at_once=1, waiting=2, wait_seconds=15.0)
OF_A_FILE: dict[str, Any] = {"card": None, "champions": [], "examination": None}

_Asked = tuple[str, str, str | None]
_Told = dict[str, Any]


class History:
    """The card, the history of the alias and the last examination."""

    def __init__(self) -> None:
        self._places = Places(ROOM, TooManyEnquiries)
        self._lock = threading.Lock()
        self._known: tuple[_Asked, float, _Told | ScoringError] | None = None

    def of(self, model: Model) -> dict[str, Any]:
        """Raises RegistryOutOfReach, EnquiryTooSlow or TooManyEnquiries. A file has no history."""
        if model.version is None:
            return OF_A_FILE
        asked = model.name, model.version, model.alias
        known = self._remembered(asked)
        if known is None:
            with self._places.taken():
                # Somebody else may have asked meanwhile.
                known = self._remembered(asked) or self._asked(asked)
        if isinstance(known, ScoringError):
            raise known.with_traceback(None)  # or it would grow with each request
        return known

    def _asked(self, asked: _Asked) -> "_Told | ScoringError":
        """A refusal is remembered, too: a registry that hangs would hold one request after the other."""
        try:
            told: _Told | ScoringError = _told(*asked)
        except (EnquiryTooSlow, RegistryOutOfReach) as refused:
            told = refused
        with self._lock:
            self._known = asked, time.monotonic(), told
        return told

    def _remembered(self, asked: _Asked) -> "_Told | ScoringError | None":
        with self._lock:
            if self._known is None:
                return None
            of, since, told = self._known
        return told if of == asked and time.monotonic() - since < _kept_for(told) else None


def _kept_for(told: _Told | ScoringError) -> float:
    if isinstance(told, EnquiryTooSlow):
        return SLOWNESS_KEPT_SECONDS
    return REFUSAL_KEPT_SECONDS if isinstance(told, ScoringError) else KEPT_SECONDS


def _told(name: str, version: str, alias: str | None) -> dict[str, Any]:
    question = {"name": name, "version": version, "alias": alias}
    try:
        told: dict[str, Any] | None = processes.ask(_PROCESS, question, SECONDS, logs.descriptor())
    except TimeoutError as error:
        raise EnquiryTooSlow(SECONDS) from error
    except processes.NoAnswer as error:
        raise RegistryOutOfReach from error
    if told is None:
        raise RegistryOutOfReach
    return told
