"""A number in memory that all workers see: which generation of the model they answer with, 0 for none.

The supervisor changes it in one step, and every worker reads it at each request, in some 30 ns. So all of
them change to another version at the same instant, and no client that asks twice meets an older one.
"""

import contextlib
import mmap
import os
import tempfile
from typing import Self

_BYTES = mmap.PAGESIZE


class SharedNumber:
    """The supervisor's view of it: it alone may change the number."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._number = memoryview(mmap.mmap(descriptor, _BYTES)).cast("Q")

    @classmethod
    def new(cls) -> Self:
        descriptor = _anonymous_file()
        os.ftruncate(descriptor, _BYTES)
        return cls(descriptor)

    def change_to(self, number: int) -> None:
        """The processor writes one aligned word at once: no worker reads half of it."""
        self._number[0] = number


def read_only(descriptor: int) -> memoryview:
    """A worker's view: the number is its first element."""
    return memoryview(mmap.mmap(descriptor, _BYTES, access=mmap.ACCESS_READ)).cast("Q")


def _anonymous_file() -> int:
    with contextlib.suppress(AttributeError, OSError):  # not on Linux, or not allowed there
        return os.memfd_create("scoring-client")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
