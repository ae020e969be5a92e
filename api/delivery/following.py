"""Makes the process that answers follow the alias, even if another process made the application.

`gunicorn --preload` makes the application and then forks its workers. Threads do not survive a fork, and
LightGBM hangs in a child whose parent has used it. So a process waits a moment before it begins to follow: if
it forks meanwhile, its children begin instead. A process that is asked for something begins at once.
"""

import os
import threading

from api.delivery.finder import Finder
from api.delivery.served import ServedModel
from api.settings import Settings

_WAIT_SECONDS = 1.0


class Following:
    """Follows the alias for one ServedModel."""

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
        self._finder = Finder.of(Settings.from_environment(), self._served.hear)

    def begin(self) -> None:
        """Serve the copy that was served last, if there is one, and look for newer ones in the background."""
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
        self._lock.acquire()  # begin() must not be half done when the process forks
        self._forks.set()

    def _after_fork(self) -> None:
        self._lock.release()

    def _in_child(self) -> None:
        """In a child: begin, unless the parent had begun. Then the child answers only if it is asked."""
        is_for_us = not self._has_begun
        self._reset()
        if is_for_us:
            self._begin_in(0.0)
