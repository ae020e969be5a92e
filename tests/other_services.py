"""What may stand where the dashboard expects the API: a road to it with faults, or another service."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.servers import Answer, Door, SocketDoor

Forward = Callable[[], Answer]
Fault = Callable[[Forward], Answer | None]


@dataclass
class Road:
    """A way to the API. `faults`: what happens at paths that begin so; None as an answer hangs up."""

    url: str
    faults: dict[str, Fault] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@contextmanager
def road_to(door: SocketDoor) -> Iterator[Road]:
    road = Road("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
            road.asked.append(f"{self.command} {self.path}")
            answer = self._fault()(lambda: _forwarded(door, self.command, self.path, body, self.headers))
            if answer is None:
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name in ("Content-Type", "X-Decision-Id", "X-Model-Digest"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(answer.body)

        do_POST = do_GET

        def _fault(self) -> Fault:
            found = [fault for path, fault in road.faults.items() if self.path.startswith(path)]
            return found[-1] if found else lambda forward: forward()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    road.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield road
    finally:
        server.shutdown()
        server.server_close()


def _forwarded(door: Door, method: str, path: str, body: bytes | None, headers: Any) -> Answer:
    passed = ("Content-Type", "Authorization", "X-Client-Reference")
    return door.send(method, path, body, {name: headers[name] for name in passed if name in headers})


def says(body: bytes, status: int = 200) -> Fault:
    """Whatever is asked."""
    return lambda _: Answer(status, {"Content-Type": "application/json"}, body)


def by_version(digest: str) -> Fault:
    """The answer of the API, as if another version had given it."""

    def fault(forward: Forward) -> Answer:
        answer = forward()
        return replace(answer, headers={**answer.headers, "X-Model-Digest": digest})

    return fault


def lost(forward: Forward) -> None:
    """The API does what it is asked for, and its answer never arrives."""
    forward()


@contextmanager
def service(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of something that does this with each connection, whatever is said to it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def talk(connection: socket.socket) -> None:
        with suppress(OSError), closing(connection):
            connection.recv(65_536)
            behave(connection)

    def listen() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=listen, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()
