"""Has receipts written and waits for it: in a thread or a process that may wait."""

import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from api.recording import wire
from api.recording.wire import Outgoing
from journal.record import Entry
from mlflow_model.errors import JournalUnavailable

TOGETHER = 500  # more would keep the writer from the decisions at /predict for too long
PATIENCE_SECONDS = 3.0  # behind the groups of others
_PIECE = 4096


def append(address: Path, entries: Sequence[Entry], patience: float = PATIENCE_SECONDS) -> None:
    """Return when all are on the disk. Raises JournalUnavailable, and then some may be there.

    `patience`: for one group, in seconds.
    """
    outgoing = Outgoing()
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(patience)
            connection.connect(str(address))
            for number, group in enumerate(_groups(entries), start=1):
                connection.sendall(outgoing.message(number, group))
                if not _is_written(connection, number):
                    raise JournalUnavailable
    except OSError as error:
        raise JournalUnavailable from error


def _is_written(connection: socket.socket, wanted: int) -> bool:
    """The writer's answer to this group. Raises OSError if it has ended, or says nothing."""
    unread = b""
    while piece := connection.recv(_PIECE):
        answers, unread = wire.answers(unread + piece)
        for number, is_written in answers:
            if number == wanted:
                return is_written
    raise ConnectionResetError


def _groups(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    return (entries[first : first + TOGETHER] for first in range(0, len(entries), TOGETHER))
