"""A clock that stands still while this process could not run."""

import time
from collections.abc import Callable

# A turn that lasts so much longer than it should is not the workers' fault: this process was stopped or slow.
_TOLERANCE = 1.0


class Clock:
    """Counts the seconds in which this process ran, for deadlines that workers have to keep.

    A supervisor that was stopped has not heard what its workers said meanwhile. The time that it missed must
    not count against them.
    """

    def __init__(self, read: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._lost = 0.0
        self._asked_at = read()

    def now(self) -> float:
        return self._read() - self._lost

    def account(self, at_most: float) -> None:
        """Count the time since the last call, at most so many seconds. Any time beyond that is left out."""
        now = self._read()
        late = now - self._asked_at - at_most
        if late > _TOLERANCE:
            self._lost += late
        self._asked_at = now
