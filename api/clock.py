"""A clock that stands still while this process could not run."""

import time
from collections.abc import Callable

# Whatever lasts so much longer than it should was not the workers' fault: this process was stopped, or slow.
_TOLERANCE = 1.0


class Clock:
    """Seconds in which this process ran, for deadlines that others have to keep.

    A supervisor that was stopped has not heard what the workers said meanwhile. It hears that first, and the
    time that it has missed counts for nobody.
    """

    def __init__(self, read: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._lost = 0.0
        self._asked_at = read()

    def now(self) -> float:
        return self._read() - self._lost

    def account(self, at_most: float) -> None:
        """Since this was called last, so many seconds should have passed at most; what is beyond is lost."""
        now = self._read()
        late = now - self._asked_at - at_most
        if late > _TOLERANCE:
            self._lost += late
        self._asked_at = now
