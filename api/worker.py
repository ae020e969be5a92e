"""One process that answers: the lane on uvicorn, at a socket and with a model that the supervisor hands it.

Started by the supervisor as `python -m api.worker LISTENER LIFELINE SHADOW TALLIES`: three inherited file
descriptors and a folder. On the lifeline come lines of news about the model; back go the lines below. When it
ends, so does the worker.
"""

import contextlib
import logging
import resource
import socket
import sys
import threading
from collections.abc import Callable

from api import logs
from api.http_server import Server
from api.lane import Lane
from api.news import News
from api.served import ServedModel
from api.service import Service
from api.shadow import Sender
from api.tally import Tally, file_in
from api.tokens import Guard

SERVING = b"serving\n"
UNUSABLE = b"unusable\n"

# A batch in a thread gives the interpreter back to /predict ten times sooner than Python's own 5 ms.
SWITCH_SECONDS = 0.0005

_log = logging.getLogger("scoring_client")


class Lifeline:
    """The worker's end: what is heard there is taken up in a thread, while requests are answered."""

    def __init__(self, connection: socket.socket, served: ServedModel) -> None:
        self._connection, self._served = connection, served
        self._lines = connection.makefile("rb")

    def first_news(self) -> None:
        """Whoever cannot use the copy does not serve yet: the supervisor knows whether others answer."""
        for line in self._lines:
            if self._served.hear(News.of(line)):
                return
            self._connection.send(UNUSABLE)
        _log.error("the supervisor has ended")
        sys.exit(1)

    def follow(self, at_the_end: Callable[[], object]) -> None:
        """Say that the worker serves, and listen."""
        self._connection.send(SERVING)
        threading.Thread(target=self._follow, args=[at_the_end], name="lifeline", daemon=True).start()

    def _follow(self, at_the_end: Callable[[], object]) -> None:
        for line in self._lines:
            if not self._served.hear(News.of(line)):
                self._connection.send(UNUSABLE)
        at_the_end()


def main() -> None:
    """Serve until the lifeline ends or SIGTERM comes."""
    listener, connection, shadow = (socket.socket(fileno=int(number)) for number in sys.argv[1:4])
    logs.configure(beside_bundles=True)
    sys.setswitchinterval(SWITCH_SECONDS)
    _allow_many_connections()
    served = ServedModel()
    lifeline = Lifeline(connection, served)
    lifeline.first_news()
    tally = Tally(file_in(sys.argv[4]))
    lane = Lane(Service(served, Guard.from_environment(), tally, Sender(shadow)))
    server = Server(lane, lambda: lifeline.follow(server.end), lambda: None)
    server.run([listener])


def _allow_many_connections() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))


if __name__ == "__main__":
    main()
