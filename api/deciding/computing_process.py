"""A process that decides on batches for one worker (api/deciding/computing_pool.py).

It runs at a low priority. It ends with its worker, or when no batch has come for some minutes.
"""

import contextlib
import json
import logging
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Mapping
from typing import Any

from api import logs
from api.counting.tally import Tally
from api.deciding import many_clients
from api.deciding.answer import Answer, internal_error
from api.delivery.news import Copy
from api.delivery.served import Model, loaded
from mlflow_model import processes
from mlflow_model.errors import ScoringError

NICENESS = 15
IDLE_SECONDS = 300.0
# Of address space: for Python and its libraries, a body, its columns and the answer, several times over.
MEMORY_LIMIT = 3 * 1024**3
FILE_LIMIT = 64 * 1024**2  # it writes none

_log = logging.getLogger("scoring_client")

_SIZES = struct.Struct("<IQ")
_LARGEST_HEAD = 1024 * 1024
_LARGEST_BODY = 1024**3


def main() -> None:
    """`python -m api.deciding.computing_process SOCKET`: one batch at a time, until the socket is closed."""
    processes.end_with_parent()
    processes.limit(memory=MEMORY_LIMIT, file_bytes=processes.beside_the_log(FILE_LIMIT))
    # Ignore signals to the whole service: the worker still answers, and needs this process.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    logs.configure(beside_bundles=True)
    os.nice(NICENESS)
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        serve(connection, IDLE_SECONDS)


def serve(connection: socket.socket, idle_seconds: float) -> None:
    """Decide on one batch after the other. Return when none has come for so long, or the worker has ended."""
    decider = Decider()
    with contextlib.suppress(EOFError, ConnectionError):
        while select.select([connection], [], [], idle_seconds)[0]:
            _serve_one(connection, decider)


class Decider:
    """Keeps the model of the last batch, which is nearly always that of the next one."""

    def __init__(self) -> None:
        self._model: Model | None = None

    def model(self, copy: Copy) -> Model | None:
        """The model of this copy. None if it cannot be loaded."""
        if self._model is None or self._model.copy != copy:
            self._model = None
            try:
                self._model = loaded(copy)
            except BaseException as error:  # noqa: BLE001 - whatever a bundle's code raises
                _log.error("a verified copy cannot be used for batches: %s", type(error).__name__)
        return self._model


def _serve_one(connection: socket.socket, decider: Decider) -> None:
    """Load the model, say whether that was possible, then receive a batch and decide on it."""
    head, _ = receive(connection)
    model = decider.model(Copy.of_facts(head["copy"]))
    send(connection, {"is_ready": model is not None})
    if model is None:
        return
    request, body = receive(connection)
    tally = Tally()
    batch = many_clients.Batch(
        request["content_type"],
        request["content_encoding"],
        body,
        request["asked_as"],
        tuple(request["keep"]),
    )
    try:
        answer = many_clients.answer(model, batch, [tally])
    except ScoringError as error:
        answer = Answer.of(error, model)
    except BaseException as error:  # noqa: BLE001 - the contract's answer to a bug, whatever it is
        answer = Answer.of(internal_error(error, batch.asked_as), model)
    said = {
        "status": answer.status,
        "content_type": answer.content_type,
        "own_headers": answer.own_headers,
        "tally": tally.content(),
    }
    send(connection, said, answer.content)


# ---- Messages of both sides: the sizes of a JSON object and of a body, then both


def send(connection: socket.socket, head: Mapping[str, Any], body: bytes | bytearray = b"") -> None:
    content = json.dumps(head).encode()
    connection.sendall(_SIZES.pack(len(content), len(body)) + content)
    connection.sendall(body)


def receive(connection: socket.socket) -> tuple[dict[str, Any], bytes]:
    """Receive a message. Raises EOFError if the other side has ended, ValueError if it is too large."""
    head, body = _SIZES.unpack(_whole(connection, _SIZES.size))
    if head > _LARGEST_HEAD or body > _LARGEST_BODY:
        raise ValueError("too much at once")
    return dict(json.loads(_whole(connection, head))), _whole(connection, body)


def _whole(connection: socket.socket, size: int) -> bytes:
    """Receive so many bytes. One system call waits for all of them, without holding the interpreter."""
    found = b""
    while len(found) < size:
        more = connection.recv(size - len(found), socket.MSG_WAITALL)
        if not more:
            raise EOFError
        found = found + more if found else more
    return found


if __name__ == "__main__":
    main()
