"""Has receipts written and waits for it: in a thread or a process that may wait."""

import contextlib
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
_BEFORE_THE_NEXT = 0.02  # seconds


def append(
    address: Path,
    entries: Sequence[Entry],
    patience: float | None = None,
    closing: Sequence[Entry] = (),
    written: Callable[[int, float], object] = lambda entries, seconds: None,
) -> None:
    """Return when all are on the disk. Raises JournalUnavailable, and then some may be there.

    `patience`: for one group, in seconds. `closing`: few more, which are there only if all the others are.
    `written` is told of each group how many of the entries it has, and how long it took.
    """
    with _connected(address, PATIENCE_SECONDS if patience is None else patience) as connection:
        for first in range(0, len(entries), TOGETHER):
            group, started = entries[first : first + TOGETHER], time.monotonic()
            is_last = first + TOGETHER >= len(entries)
            if not connection.is_written([*group, *closing] if is_last else group):
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
    """To the writer, or the one in its place. `patience`: the seconds that there are for each answer."""

    def __init__(self, address: Path, patience: float) -> None:
        self._address, self._patience, self._number = address, patience, 0
        self._until = time.monotonic() + patience
        self._connect()

    def _connect(self) -> None:
        """Raises OSError."""
        self._outgoing, self._unread = Outgoing(), b""
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.settimeout(self._left())
            with short_path.of(self._address) as path:
                self._socket.connect(path)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def _left(self) -> float:
        """The seconds that are left. Raises TimeoutError."""
        seconds = self._until - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds

    def is_written(self, group: Sequence[Entry]) -> bool:
        """Raises OSError if nobody says it in time.

        Where the writer ends, the next one is sent the group again: none writes a receipt twice.
        """
        self._number += 1
        self._until = time.monotonic() + self._patience
        while True:
            try:
                self._socket.settimeout(self._left())
                self._socket.sendall(self._outgoing.message(self._number, group))
                return self.answer_to(self._number)
            except ConnectionError:
                self.close()
                time.sleep(min(_BEFORE_THE_NEXT, self._left()))
                self._connect()

    def answer_to(self, wanted: int) -> bool:
        """Raises OSError if the writer has ended, or says nothing."""
        while True:
            self._socket.settimeout(self._left())
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
        with contextlib.closing(_Connection(address, patience)) as connection:
            yield connection
    except OSError as error:
        raise JournalUnavailable from error
