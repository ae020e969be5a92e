"""What the registry says of the served version: asked by a process that ends, and remembered for a minute."""

import threading
import time
from typing import Any

from api import logs
from api.deciding.places import Places
from api.delivery.served import Model
from api.reference.errors import EnquiryTooSlow, RegistryOutOfReach, TooManyEnquiries
from mlflow_model import processes

_PROCESS = "api.reference.history_process"
SECONDS = 60.0
KEPT_SECONDS = 60.0
ASKED_AT_ONCE, WAITING, WAIT_SECONDS = 1, 2, 15.0
OF_A_FILE: dict[str, Any] = {"card": None, "champions": [], "examination": None}

_Asked = tuple[str, str, str | None]


class History:
    """The card, the history of the alias and the last examination."""

    def __init__(self) -> None:
        self._places = Places(ASKED_AT_ONCE, WAITING, WAIT_SECONDS, TooManyEnquiries)
        self._lock = threading.Lock()
        self._known: tuple[_Asked, float, dict[str, Any]] | None = None

    def of(self, model: Model) -> dict[str, Any]:
        """Raises RegistryOutOfReach, EnquiryTooSlow or TooManyEnquiries. A file has no history."""
        if model.version is None:
            return OF_A_FILE
        asked = model.name, model.version, model.alias
        if (known := self._remembered(asked)) is not None:
            return known
        with self._places.taken():
            if (known := self._remembered(asked)) is None:  # somebody else may have asked meanwhile
                known = _told(*asked)
                with self._lock:
                    self._known = asked, time.monotonic(), known
        return known

    def _remembered(self, asked: _Asked) -> dict[str, Any] | None:
        with self._lock:
            if self._known is None:
                return None
            of, since, told = self._known
        return told if of == asked and time.monotonic() - since < KEPT_SECONDS else None


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
