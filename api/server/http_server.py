"""A worker's HTTP server on uvloop, with an end that loses nothing that was accepted."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvloop

from api.deciding.answer import internal_error
from api.server.http_protocol import Connection
from api.server.lane import Lane
from api.server.listening import BACKLOG

# After SIGTERM an idle connection may bring a request for so long, and is answered.
IDLE_SECONDS = 2.0
ANSWER_SECONDS = 10.0
# Then batches are given up, and their refusals have so long to leave: all within the 15 s of a worker's end.
_LEAVE_SECONDS = 1.0
_SWEEP_SECONDS = 0.5
_SETTLED_SECONDS = 0.01
# At the end, wait no longer than this for a disk that hangs.
_LAST_SAVE_SECONDS = 1.5

_log = logging.getLogger("scoring_client")


async def _nothing_is_left(seconds: float) -> None:
    """Whoever serves what nobody records ends at once."""


class Server:
    """Accepts connections at a listening socket until SIGTERM.

    All of these are called in the event loop: `started` once it accepts connections, `beat` every half
    second, `give_up` at the end, when requests that are still unanswered are to be refused, and `finish`
    after it, with the seconds that are left for what became of them.
    """

    def __init__(
        self,
        lane: Lane,
        started: Callable[[], None],
        beat: Callable[[], None],
        give_up: Callable[[], None],
        finish: Callable[[float], Awaitable[None]] = _nothing_is_left,
    ) -> None:
        self._lane, self._started, self._beat = lane, started, beat
        self._give_up, self._finish = give_up, finish
        self._connections: set[Connection] = set()
        # One thread: a disk that hangs stops the saving, not the event loop.
        self._saver = ThreadPoolExecutor(1, "tally")
        self._saving: asyncio.Future[None] | None = None

    def run(self, listeners: list[socket.socket]) -> None:
        """Serve until the end."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve(listeners[0]))

    def end(self) -> None:
        """Begin the end, from any thread."""
        self._loop.call_soon_threadsafe(self._ending.set)

    async def _serve(self, listener: socket.socket) -> None:
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(_report)
        self._loop.add_signal_handler(signal.SIGTERM, self._ending.set)
        # uvloop closes the socket that it serves. At the end, waiting connections are accepted from this
        # copy.
        queue = listener.dup()
        server = await self._loop.create_server(self._connection, sock=listener, backlog=BACKLOG)
        self._loop.call_later(_SWEEP_SECONDS, self._sweep)
        importing = asyncio.create_task(self._import_flask())
        self._started()
        await self._ending.wait()
        until = self._loop.time() + IDLE_SECONDS + ANSWER_SECONDS + _LEAVE_SECONDS
        importing.cancel()
        server.close()
        await asyncio.sleep(_SETTLED_SECONDS)  # until uvloop has closed its socket
        for accepted in _accept_waiting(queue):
            await self._loop.connect_accepted_socket(self._connection, accepted)
        await self._close_all()
        last_save = asyncio.wait([self._save()], timeout=_LAST_SAVE_SECONDS)
        await asyncio.gather(last_save, self._finish(max(_LAST_SAVE_SECONDS, until - self._loop.time())))

    def _connection(self) -> Connection:
        return Connection(self._lane, self._connections)

    async def _import_flask(self) -> None:
        """Import Flask before a request needs it, but after the loader has brought the first model."""
        while self._lane.service.served.news.copy is None:
            await asyncio.sleep(_SWEEP_SECONDS)
        await asyncio.to_thread(lambda: self._lane.flask)

    def _sweep(self) -> None:
        """Look after all connections twice a second. An error does not stop this."""
        self._loop.call_later(_SWEEP_SECONDS, self._sweep)
        self._beat()
        if self._saving is None or self._saving.done():
            self._saving = self._save()
        now = self._loop.time()
        for connection in tuple(self._connections):
            connection.keep_to_time(now)

    def _save(self) -> "asyncio.Future[None]":
        """Save the tally, unless it is still being saved."""
        return self._loop.run_in_executor(self._saver, self._lane.service.tally.save)

    async def _close_all(self) -> None:
        """Answer everything, and close idle connections last."""
        await self._until_all_closed(IDLE_SECONDS)
        for connection in tuple(self._connections):
            if connection.is_idle:
                connection.close()
        await self._until_all_closed(ANSWER_SECONDS)
        self._give_up()
        await self._until_all_closed(_LEAVE_SECONDS)

    async def _until_all_closed(self, seconds: float) -> None:
        deadline = self._loop.time() + seconds
        while self._connections and self._loop.time() < deadline:
            for connection in self._connections:
                connection.end()
            await asyncio.sleep(0.05)


def _accept_waiting(queue: socket.socket) -> list[socket.socket]:
    """Accept all waiting connections, then close the listener: nobody may be accepted and not answered."""
    accepted = []
    queue.setblocking(False)
    with queue, contextlib.suppress(BlockingIOError):
        while True:
            accepted.append(queue.accept()[0])
    return accepted


def _report(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log a bug in a callback: its type and place, not its message."""
    error = context.get("exception")
    if isinstance(error, Exception):
        internal_error(error, None)
    else:
        _log.error("event loop: %s", context.get("message"))
