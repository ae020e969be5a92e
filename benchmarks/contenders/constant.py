"""The limit: the product's own server, or uvicorn's with the shortest ASGI function, answering a constant.

`python -m benchmarks.contenders.constant PORT WORKERS {lane,asgi}`
"""

import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.deciding.answer import Answer
from api.deciding.service import Service
from api.delivery.served import ServedModel
from api.server import listening
from api.server.http_server import Server
from api.server.lane import Lane

CONSTANT = (
    b'{"prediction": "Classe_0 (fiable)", "probability_class_1": 0.05741902411387421, '
    b'"probability_class_0": 0.9425809758861258, "optimal_threshold": 0.16666666666666666, "margin": 0.02, '
    b'"lower_bound": 0.14666666666666667, "upper_bound": 0.18666666666666665}'
)
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(CONSTANT))]

Event = MutableMapping[str, Any]


class ConstantLane(Lane):
    def decide(self, fields: Mapping[bytes, bytes], body: bytes) -> tuple[Answer, str]:
        return Answer(200, CONSTANT, None), "0"


async def asgi(
    scope: Event, receive: Callable[[], Awaitable[Event]], send: Callable[[Event], Awaitable[None]]
) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": CONSTANT})


def main() -> None:
    port, workers, kind = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    with listening.listener("127.0.0.1", port) as listener:
        children = [pid for _ in range(workers) if (pid := _worker(listener, kind))]
        signal.signal(signal.SIGTERM, lambda *_: _end(children))
        for pid in children:
            os.waitpid(pid, 0)


def _end(children: list[int]) -> None:
    for pid in children:
        os.kill(pid, signal.SIGTERM)


def _worker(listener: socket.socket, kind: str) -> int:
    if pid := os.fork():
        return pid
    if kind == "lane":
        Server(ConstantLane(Service(ServedModel())), _nothing, _nothing, _nothing).run([listener])
    else:
        uvicorn.Server(_fastest()).run([listener])
    os._exit(0)


def _nothing() -> None:
    """Nobody waits for a word from this one."""


def _fastest() -> uvicorn.Config:
    return uvicorn.Config(
        asgi,
        loop="uvloop",
        http=HttpToolsProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )


if __name__ == "__main__":
    main()
