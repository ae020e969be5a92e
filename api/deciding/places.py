"""Bounds how many requests of a kind hold threads of a worker: some compute, some wait, more are refused."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

from mlflow_model.errors import TryLater


class Room(NamedTuple):
    """For requests of a kind. Each holds a thread, also while it waits."""

    at_once: int
    waiting: int
    wait_seconds: float

    @property
    def most(self) -> int:
        return self.at_once + self.waiting


class Places:
    """Places in this process. `refusal`: what a request is told that gets none."""

    def __init__(self, room: Room, refusal: Callable[[], TryLater]) -> None:
        self.refusal = refusal
        self._wait_seconds = room.wait_seconds
        self._admitted = threading.BoundedSemaphore(room.most)
        self._computing = threading.BoundedSemaphore(room.at_once)

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
