"""One process that answers: an HTTP server at a socket and with a model that the supervisor hands it.

Started by the supervisor as `python -m api.worker LISTENER LIFELINE SHADOW PAGE TALLIES`: four inherited file
descriptors and a folder. On the lifeline come the lines of api/lifeline.py; when it ends, so does the worker.
"""

import contextlib
import logging
import resource
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

from api import lifeline, logs, page
from api.batch_pool import Pool
from api.http_server import Server
from api.lane import Lane
from api.news import Copy, News
from api.served import ServedModel
from api.service import Service
from api.shadow import Sender
from api.tally import Tally, file_in
from api.tokens import Guard
from mlflow_model import processes

_ALIVE = lifeline.line("alive")

# A batch in a thread gives the interpreter back to /predict ten times sooner than Python's own 5 ms:
# small ones, and large ones while no process takes them up (docs/decisions/0019).
SWITCH_SECONDS = 0.0005

_log = logging.getLogger("scoring_client")


class Lifeline:
    """The worker's end: what is heard there is taken up in a thread, while requests are answered."""

    def __init__(self, connection: socket.socket, served: ServedModel) -> None:
        self._connection, self._served = connection, served
        self._lines = connection.makefile("rb")

    def until_told_to_serve(self) -> None:
        """Load what the supervisor names, and block until it says that this worker may accept connections."""
        self._connection.send(lifeline.line("here"))
        for line in self._lines:
            if self._take_up(line):
                return
        _log.error("the supervisor has ended")
        sys.exit(1)

    def follow(self, at_the_end: Callable[[], object]) -> None:
        """Say that the worker serves, and listen."""
        self._connection.send(lifeline.line("serving"))
        threading.Thread(target=self._follow, args=[at_the_end], name="lifeline", daemon=True).start()

    def beat(self) -> None:
        """Say that the event loop turns, and never wait for a supervisor that does not listen."""
        self._served.turn()
        with contextlib.suppress(OSError):
            self._connection.send(_ALIVE, socket.MSG_DONTWAIT)

    def _follow(self, at_the_end: Callable[[], object]) -> None:
        """A worker that cannot listen any more is of no use, whatever the reason."""
        try:
            for line in self._lines:
                self._take_up(line)
        finally:
            at_the_end()

    def _take_up(self, line: bytes) -> bool:
        """Returns whether this worker is to serve now."""
        said = lifeline.read(line)
        if said.kind == "news":
            self._served.news = News.of_facts(said.facts)
        elif said.kind == "prepare" and said.number:
            self._prepare(said.number, said.facts.get("copy") or {})
        return said.kind == "serve"

    def _prepare(self, number: int, copy: dict[str, Any]) -> None:
        is_usable = "folder" in copy and self._served.prepare(number, Copy.of_facts(copy))
        self._connection.send(lifeline.line("loaded" if is_usable else "unusable", number=number))


def main() -> None:
    """Serve until the lifeline ends or SIGTERM comes."""
    processes.end_with_parent()
    processes.limit()  # no memory of clients in a core dump
    listener, connection, shadow = (socket.socket(fileno=int(number)) for number in sys.argv[1:4])
    logs.configure(beside_bundles=True)
    sys.setswitchinterval(SWITCH_SECONDS)
    _allow_many_connections()
    served = ServedModel(page.read_only(int(sys.argv[4])))
    line = Lifeline(connection, served)
    line.until_told_to_serve()
    tally = Tally(file_in(sys.argv[5]))
    pool = Pool()
    lane = Lane(Service(served, Guard.from_environment(), tally, Sender(shadow), pool))

    def beat() -> None:
        """A worker of which a thread hangs gives no sign of life, and is replaced."""
        if not lane.service.hangs:
            line.beat()

    server = Server(lane, lambda: line.follow(server.end), beat, pool.end)
    server.run([listener])


def _allow_many_connections() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))


if __name__ == "__main__":
    main()
