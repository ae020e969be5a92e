"""`python -m api.reviewing.journal_process SOCKET`: answers one worker's questions to the journal.

It imports SQLAlchemy, which would be a third of a worker's memory. It runs at the worker's own priority:
while it appends a review it holds the journal's lock, and all decisions wait for that. It ends with its
worker, or when nothing has been asked for some minutes.
"""

import functools
import signal
import socket
import sys

from api import logs
from api.deciding import messages
from api.deciding.answer import in_words
from api.reviewing import answers  # noqa: F401 - now, so that no question waits for it later
from api.reviewing.questions import NewReview, OneDecision, PageOfDecisions, Question
from mlflow_model import processes

IDLE_SECONDS = 300.0
MEMORY_LIMIT = 1024**3  # of address space: for Python, SQLAlchemy and a page of decisions

_KINDS: dict[str, type[Question]] = {kind.called: kind for kind in (OneDecision, PageOfDecisions, NewReview)}


def main() -> None:
    processes.end_with_parent()
    processes.limit(memory=MEMORY_LIMIT)
    # Ignore signals to the whole service: the worker still answers, and needs this process.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    logs.configure()
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        messages.serve_each(connection, IDLE_SECONDS, functools.partial(_serve_one, connection))


def _serve_one(connection: socket.socket) -> None:
    """Say that there is no model to load, then receive a question and answer it."""
    messages.receive(connection)
    messages.send(connection, {"is_ready": True})
    request, body = messages.receive(connection)
    question = _KINDS[request["task"]].of_facts(body, request["facts"])
    answer = in_words(question.answer, None, question.asked_as)
    said = {"status": answer.status, "content_type": answer.content_type, "own_headers": answer.own_headers}
    messages.send(connection, said, answer.content)


if __name__ == "__main__":
    main()
