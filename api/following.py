"""Has the process that answers follow the alias. It need not be the process that made the application.

`gunicorn --preload` makes the application and forks its workers afterwards: no thread passes a fork, and
LightGBM hangs in a child whose parent has used it. So a process waits a moment before it begins: if it forks
meanwhile, its children begin instead. Whoever is asked for something begins at once.
"""

import os
import threading

from api.finder import Finder
from api.served import ServedModel

_WAIT_SECONDS = 1.0


class Following:
    """Of one ServedModel."""

    def __init__(self, served: ServedModel) -> None:
        self._served = served
        self._reset()
        os.register_at_fork(
            before=self._before_fork, after_in_parent=self._after_fork, after_in_child=self._in_child
        )
        self._begin_in(_WAIT_SECONDS)

    def _reset(self) -> None:
        self._lock, self._forks = threading.Lock(), threading.Event()
        self._has_begun = False
        self._finder = Finder.from_environment(self._served.hear)

    def begin(self) -> None:
        """Serve what was served last, if that is known, and look for more in the background."""
        if self._has_begun:
            return
        with self._lock:
            if not self._has_begun:
                self._finder.recall()
                self._finder.start()
                self._has_begun = True

    def _begin_in(self, seconds: float) -> None:
        threading.Thread(target=self._wait, args=[seconds], name="following", daemon=True).start()

    def _wait(self, seconds: float) -> None:
        if not self._forks.wait(seconds):
            self.begin()

    def _before_fork(self) -> None:
        self._lock.acquire()  # no fork halfway through a beginning
        self._forks.set()

    def _after_fork(self) -> None:
        self._lock.release()

    def _in_child(self) -> None:
        """A child of a process that has begun is none that answers, unless it is asked."""
        is_for_us = not self._has_begun
        self._reset()
        if is_for_us:
            self._begin_in(0.0)
