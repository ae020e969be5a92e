"""Has receipts written and waits for it: in a thread or a process that may wait."""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from api.recording import short_path, wire
from api.recording.wire import Outgoing
from journal.record import Entry
from mlflow_model.errors import JournalUnavailable

TOGETHER = 500  # more would keep the writer from the decisions at /predict for too long
PATIENCE_SECONDS = 3.0  # behind the groups of others
_PIECE = 4096


def append(
    address: Path,
    entries: Sequence[Entry],
    patience: float | None = None,
    written: Callable[[int, float], object] = lambda entries, seconds: None,
) -> None:
    """Return when all are on the disk. Raises JournalUnavailable, and then some may be there.

    `patience`: for one group, in seconds. `written` is told of each group how many they are, and how long it
    took.
    """
    with _connected(address, PATIENCE_SECONDS if patience is None else patience) as connection:
        for group in _groups(entries):
            started = time.monotonic()
            if not connection.is_written(group):
                raise JournalUnavailable
            written(len(group), time.monotonic() - started)


def is_writable(address: Path, patience: float) -> bool:
    """Whether the writer says so. False where it says nothing for so many seconds."""
    try:
        with _connected(address, patience) as connection:
            return connection.answer_to(wire.STATE)
    except JournalUnavailable:
        return False


class _Connection:
    """To the writer, which has so many seconds for each answer."""

    def __init__(self, connected: socket.socket, patience: float) -> None:
        self._socket, self._patience = connected, patience
        self._outgoing, self._unread, self._number = Outgoing(), b"", 0
        self._until = 0.0
        self.begin()

    def begin(self) -> None:
        self._until = time.monotonic() + self._patience

    def left(self) -> float:
        """The seconds that are left. Raises TimeoutError."""
        seconds = self._until - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds

    def is_written(self, group: Sequence[Entry]) -> bool:
        """Raises OSError if the writer has ended, or says nothing."""
        self._number += 1
        self.begin()
        self._socket.settimeout(self.left())
        self._socket.sendall(self._outgoing.message(self._number, group))
        return self.answer_to(self._number)

    def answer_to(self, wanted: int) -> bool:
        """Raises OSError if the writer has ended, or says nothing."""
        while True:
            self._socket.settimeout(self.left())
            piece = self._socket.recv(_PIECE)
            if not piece:
                raise ConnectionResetError
            answers, self._unread = wire.answers(self._unread + piece)
            for number, is_so in answers:
                if number == wanted:
                    return is_so


@contextmanager
def _connected(address: Path, patience: float) -> Iterator[_Connection]:
    """Raises JournalUnavailable, also in the place of an OSError within."""
    try:
        with socket.socket(socket.AF_UNIX) as connected:
            connected.settimeout(patience)
            with short_path.of(address) as path:
                connected.connect(path)
            yield _Connection(connected, patience)
    except OSError as error:
        raise JournalUnavailable from error


def _groups(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    return (entries[first : first + TOGETHER] for first in range(0, len(entries), TOGETHER))
