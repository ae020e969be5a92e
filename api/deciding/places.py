"""Bounds how many requests of a kind hold threads of a worker: some compute, some wait, more are refused."""

import contextlib
import threading
from collections.abc import Callable, Iterator

from mlflow_model.errors import TryLater


class Places:
    """Places in this process. `refusal`: what a request is told that gets none."""

    def __init__(
        self, computed_at_once: int, waiting: int, wait_seconds: float, refusal: Callable[[], TryLater]
    ) -> None:
        self.refusal = refusal
        self._wait_seconds = wait_seconds
        self._admitted = threading.BoundedSemaphore(computed_at_once + waiting)
        self._computing = threading.BoundedSemaphore(computed_at_once)

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a place, perhaps after a wait. Raises the refusal without room to wait, or after the wait."""
        if not self._admitted.acquire(blocking=False):
            raise self.refusal()
        try:
            if not self._computing.acquire(timeout=self._wait_seconds):
                raise self.refusal()
            try:
                yield
            finally:
                self._computing.release()
        finally:
            self._admitted.release()
