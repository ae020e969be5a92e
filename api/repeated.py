"""Repeats a look in a thread of its own. A look that fails does not end the looking."""

import logging
import threading
from collections.abc import Callable

from api import logs

_log = logging.getLogger("scoring_client")


class Repeated:
    """Looks every so many seconds until it is stopped. Logs the same failure once.

    `purpose` says in the log what the looks are for. `first`: seconds until the first look.
    """

    def __init__(
        self, look: Callable[[], object], every: float, purpose: str, first: float | None = None
    ) -> None:
        self._look, self._every, self._purpose = look, every, purpose
        self._first = every if first is None else first
        self._failure = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name=purpose, daemon=True)
        self._thread.start()

    def stop(self, patience: float | None = None) -> None:
        """End the looking. Wait so long for a look that is under way; by default as long as the interval."""
        self._stopping.set()
        self._thread.join(self._every if patience is None else patience)

    def _work(self) -> None:
        pause = self._first
        while not self._stopping.wait(pause):
            self._look_safely()
            pause = self._every

    def _look_safely(self) -> None:
        try:
            self._look()
            self._failure = ""
        except Exception as error:  # noqa: BLE001 - a bug of ours, which may not end the looking
            failure = logs.told(error)
            if failure != self._failure:
                _log.error("internal error in %s: %s", self._purpose, failure)
            self._failure = failure
