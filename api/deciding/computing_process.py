"""`python -m api.deciding.computing_process SOCKET`: computes batches and explanations for one worker.

It runs at a low priority. It ends with its worker, or when no task has come for some minutes.
"""

import functools
import logging
import signal
import socket
import sys
from collections.abc import Mapping, Sequence

from api import logs
from api.counting.tally import Tally
from api.deciding import messages
from api.deciding.answer import in_words
from api.deciding.explained_client import Explanation
from api.deciding.explained_receipt import PastExplanation
from api.deciding.many_clients import Batch
from api.deciding.task import ModelTask
from api.delivery.news import Copy
from api.delivery.served import Model, loaded
from mlflow_model import processes

IDLE_SECONDS = 300.0
# Of address space: for Python and its libraries, a body, its columns and the answer, several times over.
MEMORY_LIMIT = 3 * 1024**3
FILE_LIMIT = 64 * 1024**2  # it writes none

KINDS: tuple[type[ModelTask], ...] = (Batch, Explanation, PastExplanation)
_log = logging.getLogger("scoring_client")


def run(kinds: Sequence[type[ModelTask]]) -> None:
    """Compute tasks of these kinds, one at a time, until the socket of the command line is closed."""
    processes.end_with_parent()
    processes.limit(memory=MEMORY_LIMIT, file_bytes=processes.beside_the_log(FILE_LIMIT))
    # Ignore signals to the whole service: the worker still answers, and needs this process.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    logs.configure(beside_bundles=True)
    processes.give_way()
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        serve(connection, IDLE_SECONDS, kinds)


def serve(connection: socket.socket, idle_seconds: float, kinds: Sequence[type[ModelTask]] = KINDS) -> None:
    """Compute one task after the other. Return when none has come for so long, or the worker has ended."""
    by_name = {kind.called: kind for kind in kinds}
    serve_one = functools.partial(_serve_one, connection, LastModel(), by_name)
    messages.serve_each(connection, idle_seconds, serve_one)


class LastModel:
    """The model of the last task, which is nearly always that of the next one."""

    def __init__(self) -> None:
        self._model: Model | None = None

    def of(self, copy: Copy) -> Model | None:
        """The model of this copy. None if it cannot be loaded."""
        if self._model is None or self._model.copy != copy:
            self._model = None
            try:
                self._model = loaded(copy)
            except BaseException as error:  # noqa: BLE001 - whatever a bundle's code raises
                _log.error("a verified copy cannot be used to compute: %s", type(error).__name__)
        return self._model


def _serve_one(connection: socket.socket, last: LastModel, kinds: Mapping[str, type[ModelTask]]) -> None:
    """Load the model, say whether that was possible, then receive a task and compute it."""
    head, _ = messages.receive(connection)
    model = last.of(Copy.of_facts(head["copy"]))
    messages.send(connection, {"is_ready": model is not None})
    if model is None:
        return
    request, body = messages.receive(connection)
    task = kinds[request["task"]](body=body, **request["facts"])
    tally = Tally()
    answer = in_words(lambda: task.answer(model, [tally]), model, task.asked_as)
    said = {
        "status": answer.status,
        "content_type": answer.content_type,
        "own_headers": answer.own_headers,
        "tally": tally.content(),
    }
    messages.send(connection, said, answer.content)


if __name__ == "__main__":
    run(KINDS)
