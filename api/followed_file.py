"""Follows a file that its operator may change while it is in use, and keeps the last good content."""

import logging
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

LARGEST = 256 * 1024

# A change this recent may be half written: look again a little later.
_SETTLED_SECONDS = 0.25

_log = logging.getLogger("scoring_client")

T = TypeVar("T")


class BadFile(ValueError):
    """The file cannot be read, or its content is not valid."""


class FollowedFile(Generic[T]):
    """`held` is what `parse` last made of the content.

    `variable` is the environment variable that names the file. `parse` raises a ValueError whose text begins
    with that name if the content is not valid. The constructor raises BadFile, and what `parse` raises.
    """

    def __init__(self, variable: str, file: Path, parse: Callable[[bytes], T]) -> None:
        self._variable, self._file, self._parse = variable, file, parse
        self._seen = self._state()  # read first: a change during the reading is seen at the next look
        self.held = parse(self._content())

    def look(self) -> bool:
        """Return whether `held` has changed. Log an invalid file once, and keep what is held."""
        state = self._state()
        if state == self._seen or self._is_unsettled(state):
            return False
        self._seen = state
        former = self.held
        try:
            self.held = self._parse(self._content())
        except ValueError as error:
            _log.error("%s; what it held before stays in force", error)
        return self.held != former

    def _state(self) -> tuple[int, ...]:
        try:
            found = self._file.stat()
        except OSError:
            return ()
        return found.st_ctime_ns, found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev

    def _is_unsettled(self, state: tuple[int, ...]) -> bool:
        return bool(state) and 0 <= time.time() - state[0] / 1e9 < _SETTLED_SECONDS

    def _content(self) -> bytes:
        """Read the file without ever waiting: refuse a pipe, a device, or a file that is too large."""
        try:
            descriptor = os.open(self._file, os.O_RDONLY | os.O_NONBLOCK)
            with open(descriptor, "rb") as opened:  # noqa: PTH123 - a descriptor
                is_regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
                content = opened.read(LARGEST + 1) if is_regular else b""
        except OSError as error:
            raise BadFile(f"{self._variable} cannot be read") from error
        if not is_regular or len(content) > LARGEST:
            raise BadFile(f"{self._variable} must be a regular file of {LARGEST // 1024} KiB at the most")
        return content
