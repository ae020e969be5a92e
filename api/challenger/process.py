"""The challenger's process: decides on what the workers send, and counts both labels of each client."""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from api import logs
from api.counting.tally import Tally, file_in
from api.delivery.news import News
from api.delivery.served import ServedModel
from mlflow_model import processes

FAILED = "failed"

# Of address space: it takes a quarter of a gigabyte with the shipped model.
MEMORY_BYTES = 2 * 2**30
FILE_BYTES = 64 * 2**20  # its tally takes some kilobytes

_LARGEST = 256 * 1024
_SAVE_SECONDS = 0.5


def main() -> None:
    """`python -m api.challenger.process SOCKET TALLIES`: ends when its input does.

    The challenger's news come on the input, and a sign of life goes to the output each half second.
    """
    processes.end_with_parent()
    processes.limit(memory=MEMORY_BYTES, file_bytes=processes.beside_the_log(FILE_BYTES))
    output = processes.set_aside(1)  # before the bundle's code runs, whose standard output is discarded
    logs.configure(beside_bundles=True)
    os.nice(5)
    served = ServedModel(said_as="the challenger is")
    if not served.hear(News.of(sys.stdin.buffer.readline())):
        sys.exit(1)  # the log has the reason
    threading.Thread(target=_end_with_the_input, daemon=True).start()
    tally = Tally(file_in(sys.argv[2]))
    with socket.socket(fileno=int(sys.argv[1])) as receiver:
        _forget_waiting(receiver)
        receiver.settimeout(_SAVE_SECONDS)
        compare(receiver, served, tally, output)


def _end_with_the_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def _forget_waiting(receiver: socket.socket) -> None:
    """Drop the clients that were sent to the challenger before."""
    receiver.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            receiver.recv(_LARGEST)


def compare(receiver: socket.socket, served: ServedModel, tally: Tally, output: int) -> None:
    model = served.model
    save_at = 0.0
    while True:
        with contextlib.suppress(TimeoutError):
            version, label, client = json.loads(receiver.recv(_LARGEST))
            tally.compared(version, label, model.called, _label(served, client))
        if time.monotonic() > save_at:
            os.write(output, b".")
            tally.save()
            save_at = time.monotonic() + _SAVE_SECONDS


def _label(served: ServedModel, client: Mapping[str, Any]) -> str:
    try:
        return str(served.model.scorer.decide(client)["prediction"])
    except BaseException:  # noqa: BLE001 - whatever the challenger's code raises
        return FAILED


if __name__ == "__main__":
    main()
