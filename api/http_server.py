"""A worker's HTTP server: the lane on uvicorn, with an end that loses nothing that was accepted."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn

from api.http_protocol import Protocol
from api.lane import Lane

# An idle connection may still bring a request for so long after the end has come, and be answered.
IDLE_SECONDS = 2.0
ANSWER_SECONDS = 10.0
# Longer than the proxies that hold connections open, so that it is they who close them.
KEEP_ALIVE_SECONDS = 75
_SWEEP_SECONDS = 0.5
_SETTLED_SECONDS = 0.01


class Server(uvicorn.Server):
    """uvicorn's server, with an end that loses nothing that was accepted.

    `started` is called when it accepts connections, `beat` every half second, both in the event loop.
    """

    def __init__(self, lane: Lane, started: Callable[[], None], beat: Callable[[], None]) -> None:
        super().__init__(_config(lane))
        self._lane, self._started, self._beat = lane, started, beat

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
        self._loop = asyncio.get_running_loop()
        self._started()

    def end(self) -> None:
        """Begin the end, from any thread."""
        self._loop.call_soon_threadsafe(self._end)

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
            self._beat()

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


def _config(lane: Lane) -> uvicorn.Config:
    return uvicorn.Config(
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
