"""Writes lines to a file descriptor in a thread of its own, so that no caller waits for the log's reader.

A reader may stop, be slow, or be gone. Lines that then do not fit into the queue, or cannot be written, are
left out and counted. As soon as there is room again, a line says how many.
"""

import os
import select
import threading
import time
from collections import Counter, deque
from collections.abc import Callable

QUEUE_BYTES = 1024 * 1024
# At its end the process waits as long as the reader goes on reading, but not for one that has stopped.
END_SECONDS, STOPPED_SECONDS = 3.0, 1.0
# Lines left out for one reason are counted for so many seconds before a line tells of them.
NOTICE_SECONDS = 1.0

UNREAD = "whoever reads the log is too slow, has stopped, or is gone"

# A pipe never mixes so many bytes, written at once, with what other processes write.
_WHOLE_BYTES = select.PIPE_BUF


class LineWriter:
    """`notice` makes the line that tells how many lines were left out, and why.

    `rare` gives reasons a longer interval: so many seconds between two notices.
    """

    def __init__(
        self, descriptor: int, notice: Callable[[str, int], bytes], rare: dict[str, float] | None = None
    ) -> None:
        self.descriptor = descriptor
        self._notice, self._rare = notice, rare or {}
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        """Begin with an empty queue and no thread: in a forked child, the parent writes what was waiting."""
        self._changed = threading.Condition()  # reentrant: a garbage collection in here may log
        self._lines: deque[bytes] = deque()
        self._bytes = self._written = 0
        self._left_out: Counter[str] = Counter()
        self._due: dict[str, float] = {}
        self._is_writing = self._is_ending = False
        threading.Thread(target=self._work, name="log", daemon=True).start()

    def put(self, line: bytes) -> None:
        """Queue the line. Return at once."""
        with self._changed:
            if self._bytes + len(line) > QUEUE_BYTES:
                self.leave_out(UNREAD)
                return
            self._lines.append(line)
            self._bytes += len(line)
            self._changed.notify_all()

    def leave_out(self, reason: str, count: int = 1) -> None:
        """Count lines that are not written. A notice follows soon."""
        with self._changed:
            self._left_out[reason] += count
            if self._left_out[reason] == count:
                soon = time.monotonic() + NOTICE_SECONDS
                self._due[reason] = max(soon, self._due.get(reason, 0.0))
                self._changed.notify_all()

    def drain(self) -> None:
        """Wait until all lines are written, as long as the reader goes on reading."""
        deadline = time.monotonic() + END_SECONDS
        with self._changed:
            self._is_ending = True
            self._changed.notify_all()
            while (self._lines or self._left_out or self._is_writing) and time.monotonic() < deadline:
                before = self._written
                if not self._changed.wait_for(lambda: self._written != before, STOPPED_SECONDS):  # noqa: B023
                    break
            self._is_ending = False

    def _work(self) -> None:
        while True:
            with self._changed:
                if not (self._lines or self._told_now()):
                    self._changed.wait(self._until_due())
                reason, count, chunk = self._next()
                self._is_writing = True
            is_written = self._write(chunk)
            with self._changed:
                self._is_writing = False
                self._written += 1
                if not is_written and not self._is_ending:
                    self.leave_out(reason, count)
                self._changed.notify_all()

    def _told_now(self) -> list[str]:
        now = time.monotonic()
        return [reason for reason in self._left_out if self._is_ending or self._due[reason] <= now]

    def _until_due(self) -> float | None:
        due = [self._due[reason] for reason in self._left_out]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _next(self) -> tuple[str, int, bytes]:
        """Return what to write, its number of lines, and the reason to count if it cannot be written."""
        for reason in self._told_now():
            count = self._left_out.pop(reason)
            self._due[reason] = time.monotonic() + self._rare.get(reason, NOTICE_SECONDS)
            return reason, count, self._notice(reason, count)
        chunk: list[bytes] = []
        room = _WHOLE_BYTES
        while self._lines and (not chunk or len(self._lines[0]) <= room):
            line = self._lines.popleft()
            self._bytes -= len(line)
            room -= len(line)
            chunk.append(line)
        return UNREAD, len(chunk), b"".join(chunk)

    def _write(self, data: bytes) -> bool:
        while data:
            try:
                data = data[os.write(self.descriptor, data) :]
            except BlockingIOError:  # another process that shares the file made it non-blocking
                ready = select.poll()
                ready.register(self.descriptor, select.POLLOUT)
                ready.poll()
            except OSError:  # nobody reads any more, or the disk is full
                return False
        return True
