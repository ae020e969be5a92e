"""One process that answers: the lane on uvicorn, at a socket and with a model that the supervisor hands it.

Started by the supervisor as `python -m api.worker LISTENER LIFELINE SHADOW TALLIES`: three inherited file
descriptors and a folder. On the lifeline come lines of news about the model; back go the lines below. When it
ends, so does the worker.
"""

import asyncio
import contextlib
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator

import uvicorn

from api import logs
from api.http_protocol import Protocol
from api.lane import Lane
from api.news import News
from api.served import ServedModel
from api.service import Service
from api.shadow import Sender
from api.tally import Tally, file_in
from api.tokens import Guard

SERVING = b"serving\n"
UNUSABLE = b"unusable\n"

# An idle connection may still bring a request for so long after the end has come, and be answered.
IDLE_SECONDS = 2.0
ANSWER_SECONDS = 10.0
# Longer than the proxies that hold connections open, so that it is they who close them.
KEEP_ALIVE_SECONDS = 75
# A batch in a thread gives the interpreter back to /predict ten times sooner than Python's own 5 ms.
SWITCH_SECONDS = 0.0005
_SWEEP_SECONDS = 0.5
_SETTLED_SECONDS = 0.01


class Server(uvicorn.Server):
    """uvicorn's server, with an end that loses nothing that was accepted."""

    def __init__(self, config: uvicorn.Config, lane: Lane, lifeline: "Lifeline") -> None:
        super().__init__(config)
        self._lane, self._lifeline = lane, lifeline

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The supervisor's SIGTERM alone ends a worker."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._end)
        yield

    def _end(self) -> None:
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        assert sockets is not None  # noqa: S101 - run() is given the supervisor's
        # uvloop closes the socket that it serves; what waits in its queue is taken from this one.
        self._queue = sockets[0].dup()
        await super().startup(sockets)
        self._tasks = [asyncio.create_task(self._sweep()), asyncio.create_task(self._import_flask())]
        loop = asyncio.get_running_loop()
        self._lifeline.follow(lambda: loop.call_soon_threadsafe(self._end))

    async def _import_flask(self) -> None:
        """Before somebody asks for it, but not while the loader needs the processor for the first model."""
        while self._lane.service.served.news.copy is None:
            await asyncio.sleep(_SWEEP_SECONDS)
        await asyncio.to_thread(lambda: self._lane.flask)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = asyncio.get_running_loop().time()
            for connection in self._connections():
                connection.keep_to_time(now)
            self._lane.service.tally.save()

    def _connections(self) -> list[Protocol]:
        return [it for it in self.server_state.connections if isinstance(it, Protocol)]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept what is waiting, answer everything, close idle connections last."""
        for server in self.servers:
            server.close()
        await asyncio.sleep(_SETTLED_SECONDS)  # until uvloop has closed its socket
        for accepted in self._accept_waiting():
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, accepted)
        await self._until_all_closed(IDLE_SECONDS)
        for connection in self._connections():
            if connection.is_idle:
                connection.transport.close()
        await self._until_all_closed(ANSWER_SECONDS)
        self._lane.service.tally.save()

    def _accept_waiting(self) -> list[socket.socket]:
        """All at once, and closed at once: whoever comes in between would be accepted and never answered."""
        accepted = []
        self._queue.setblocking(False)
        with self._queue, contextlib.suppress(BlockingIOError):
            while True:
                accepted.append(self._queue.accept()[0])
        return accepted

    def _protocol(self) -> Protocol:
        return Protocol(self.config, self.server_state, self.lifespan.state)

    async def _until_all_closed(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while self.server_state.connections and loop.time() < deadline:
            for connection in self._connections():
                connection.shutdown()
            await asyncio.sleep(0.05)


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
        sys.exit("the supervisor has ended")

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
    logs.configure()
    sys.setswitchinterval(SWITCH_SECONDS)
    _allow_many_connections()
    served = ServedModel()
    lifeline = Lifeline(connection, served)
    lifeline.first_news()
    tally = Tally(file_in(sys.argv[4]))
    lane = Lane(Service(served, Guard.from_environment(), tally, Sender(shadow)))
    config = uvicorn.Config(
        lane,
        loop="uvloop",
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    Server(config, lane, lifeline).run([listener])


def _allow_many_connections() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))


if __name__ == "__main__":
    main()
