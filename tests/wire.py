"""A connection without a network: the test is the client, and turns the clock."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

from api.server.http_protocol import Connection
from api.server.lane import Lane

PATIENCE = 45.0


class Wire(asyncio.Transport):
    """Stands for the event loop's transport. `client_takes` is false where the client reads no answer."""

    def __init__(self, lane: Lane) -> None:
        super().__init__({"sockname": ("127.0.0.1", 5000), "peername": ("127.0.0.1", 40_000)})
        self.written = b""
        self.pieces: list[bytes] = []  # as they were given to be written
        self.is_open, self.is_half_open, self.is_paused, self.client_takes = True, True, False, True
        self.unsent = 0
        self._unread = b""
        self.peers: set[Connection] = set()
        self.connection = Connection(lane, self.peers)
        self.connection.connection_made(self)

    # ---- What the client does

    def send(self, data: bytes) -> None:
        """In pieces as uvloop reads them, as long as the server reads; the rest when it reads again."""
        self._unread += data
        self._read()

    def _read(self) -> None:
        while self._unread and not self.is_paused and self.is_open:
            piece, self._unread = self._unread[: 256 * 1024], self._unread[256 * 1024 :]
            self.connection.data_received(piece)

    def say_all(self) -> None:
        if not self.connection.eof_received():
            self.close()

    def vanish(self) -> None:
        self.is_open = False
        self.connection.connection_lost(None)

    async def until(self, answers: int) -> list[int]:
        """The statuses, as soon as so many have come."""
        return await self._until(lambda: len(self.statuses) >= answers)

    async def until_closed(self) -> list[int]:
        return await self._until(lambda: not self.is_open or not self.is_half_open)

    async def _until(self, happened: Callable[[], bool]) -> list[int]:
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while not happened():
            assert asyncio.get_running_loop().time() < deadline, self.written[:500]
            await asyncio.sleep(0.001)
        return self.statuses

    @property
    def statuses(self) -> list[int]:
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", self.written)]

    @property
    def heads(self) -> list[bytes]:
        """Of the answers, in lower case."""
        return [head.lower() for head in re.findall(rb"HTTP/1\.1 \d+ .*?\r\n\r\n", self.written, re.DOTALL)]

    # ---- What the server does

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert self.is_open
        assert self.is_half_open
        self.written += data
        self.unsent += 0 if self.client_takes else len(data)

    def writelines(self, list_of_data: Any) -> None:
        self.pieces += list_of_data
        self.write(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def write_eof(self) -> None:
        self.is_half_open = False

    def is_closing(self) -> bool:
        return not self.is_open

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if self.is_open:
            self.vanish()

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False
        if self._unread:
            asyncio.get_running_loop().call_soon(self._read)
