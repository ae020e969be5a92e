"""What a worker and the processes beside it say to each other: the sizes of a JSON object and of a body, then
both. A process reads one task after the other.
"""

import contextlib
import json
import select
import socket
import struct
from collections.abc import Callable, Mapping
from typing import Any

_SIZES = struct.Struct("<IQ")
_LARGEST_HEAD = 1024 * 1024
_LARGEST_BODY = 1024**3


def send(connection: socket.socket, head: Mapping[str, Any], body: bytes | bytearray = b"") -> None:
    content = json.dumps(head).encode()
    connection.sendall(_SIZES.pack(len(content), len(body)) + content)
    connection.sendall(body)


def receive(connection: socket.socket) -> tuple[dict[str, Any], bytes]:
    """Receive a message. Raises EOFError if the other side has ended, ValueError if it is too large."""
    head, body = _SIZES.unpack(_whole(connection, _SIZES.size))
    if head > _LARGEST_HEAD or body > _LARGEST_BODY:
        raise ValueError("too much at once")
    return dict(json.loads(_whole(connection, head))), _whole(connection, body)


def serve_each(connection: socket.socket, idle_seconds: float, serve_one: Callable[[], object]) -> None:
    """Serve one task after the other. Return when none has come for so long, or the worker has ended."""
    with contextlib.suppress(EOFError, ConnectionError):
        while select.select([connection], [], [], idle_seconds)[0]:
            serve_one()


def _whole(connection: socket.socket, size: int) -> bytes:
    """Receive so many bytes. One system call waits for all of them, without holding the interpreter."""
    found = b""
    while len(found) < size:
        more = connection.recv(size - len(found), socket.MSG_WAITALL)
        if not more:
            raise EOFError
        found = found + more if found else more
    return found
