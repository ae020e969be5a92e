"""Requests as bytes, and tests that run in an event loop."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

from api.server.http_reader import SLICE, Reader
from api.server.http_request import Request

HEAD = b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"

Test = Callable[..., Coroutine[Any, Any, None]]


def in_the_loop(test: Test) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*arguments: Any, **fixtures: Any) -> None:
        asyncio.run(test(*arguments, **fixtures))

    return run


def post(body: bytes, path: bytes = b"/predict", more: bytes = b"") -> bytes:
    return b"POST " + path + HEAD + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


def announced(length: int, path: bytes = b"/predict/batch", more: bytes = b"") -> bytes:
    """The head of a request whose body is still to come."""
    return b"POST " + path + HEAD + more + b"Content-Length: %d\r\n\r\n" % length


def chunked(body: bytes, trailers: bytes = b"", path: bytes = b"/predict") -> bytes:
    head = b"POST " + path + HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%s\r\n0\r\n" % (len(body), body) + trailers + b"\r\n"


def read(*parts: bytes) -> list[Request]:
    """The requests in these parts of a connection."""
    requests: list[Request] = []
    reader = Reader(requests.append)
    for part in parts:
        for start in range(0, len(part), SLICE):
            reader.feed(part[start : start + SLICE])
    return requests
