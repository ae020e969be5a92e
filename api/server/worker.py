"""One process that answers, with an HTTP server at the supervisor's socket.

The supervisor starts `python -m api.server.worker` with LISTENER LIFELINE CHALLENGER NUMBER TALLIES JOURNAL:
four inherited descriptors, a folder, and where the journal's writer listens, empty without a journal. On the
lifeline come the lines of api/server/lifeline.py; when it ends, so does the worker.
"""

import contextlib
import logging
import resource
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api import logs
from api.challenger.sender import Sender
from api.counting.tally import Tally, file_in
from api.deciding.computing_pool import Pool
from api.deciding.service import Service
from api.delivery.news import Copy, News
from api.delivery.served import ServedModel
from api.reference.enquiries import Enquiries, reference_pool
from api.reviewing.desk import Desk, journal_pool
from api.server import lifeline, shared_number
from api.server.http_server import Server
from api.server.lane import Lane
from api.settings import Settings
from api.tokens import Guard
from mlflow_model import processes

if TYPE_CHECKING:
    from api.recording.recorder import Recorder

_ALIVE = lifeline.line("alive")

# Python's own switch interval is 5 ms. A shorter one lets /predict run sooner beside a batch in a thread
# (docs/decisions/0019).
SWITCH_SECONDS = 0.0005

_log = logging.getLogger("scoring_client")


class Lifeline:
    """The worker's end. A thread takes up what the supervisor says, while requests are answered."""

    def __init__(self, connection: socket.socket, served: ServedModel) -> None:
        self._connection, self._served = connection, served
        self._lines = connection.makefile("rb")

    def until_told_to_serve(self) -> None:
        """Load copies that the supervisor names. Block until it says that this worker may serve."""
        self._connection.send(lifeline.line("here"))
        for line in self._lines:
            if self._take_up(line):
                return
        _log.error("the supervisor has ended")
        sys.exit(1)

    def follow(self, at_the_end: Callable[[], object]) -> None:
        """Say that the worker serves, and go on listening in a thread."""
        self._connection.send(lifeline.line("serving"))
        threading.Thread(target=self._follow, args=[at_the_end], name="lifeline", daemon=True).start()

    def beat(self) -> None:
        """Say that the event loop turns. Do not wait for a supervisor that does not listen."""
        self._served.turn()
        with contextlib.suppress(OSError):
            self._connection.send(_ALIVE, socket.MSG_DONTWAIT)

    def _follow(self, at_the_end: Callable[[], object]) -> None:
        """Listen until the lifeline ends or an error does, and then end the worker."""
        try:
            for line in self._lines:
                self._take_up(line)
        finally:
            at_the_end()

    def _take_up(self, line: bytes) -> bool:
        """Do what a line says. Return whether this worker is to serve now."""
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
    processes.limit()  # no core dump: it would hold clients' values
    listener, connection, to_challenger = (socket.socket(fileno=int(number)) for number in sys.argv[1:4])
    logs.configure(beside_bundles=True)
    sys.setswitchinterval(SWITCH_SECONDS)
    _allow_many_connections()
    served = ServedModel(shared_number.read_only(int(sys.argv[4])))
    line = Lifeline(connection, served)
    line.until_told_to_serve()
    tally = Tally(file_in(sys.argv[5]))
    pool = Pool()
    settings = Settings.from_environment()
    challenger = Sender(to_challenger, served, settings.challenger_share)
    recorder = _recorder(sys.argv[6], served, tally)
    service = Service(served, Guard(settings.tokens_file), tally, [challenger], pool, recorder)
    questions, enquiries = journal_pool(), reference_pool()
    desk = None if recorder is None else Desk(service, settings.cache, questions)
    lane = Lane(service, recorder, desk, Enquiries(service, enquiries))

    def beat() -> None:
        """Give a sign of life, unless a thread hangs: then the supervisor replaces this worker."""
        if not lane.service.hangs:
            line.beat()

    def started() -> None:
        if recorder is not None:
            recorder.begin()
        line.follow(server.end)

    def end() -> None:
        for one in (pool, questions, enquiries):
            one.end()
        processes.end_asked()

    async def finish(seconds: float) -> None:
        """Have the journal told what was refused, before nobody is left who knows."""
        if recorder is not None:
            await recorder.finish(seconds)

    server = Server(lane, started, beat, end, finish)
    server.run([listener])


def _recorder(address: str, served: ServedModel, tally: Tally) -> "Recorder | None":
    """What keeps answers back until they are recorded; None where it was said that nothing is recorded."""
    if not address:
        return None
    from api.recording.recorder import Recorder

    return Recorder(Path(address), served, tally)


def _allow_many_connections() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))


if __name__ == "__main__":
    main()
