"""A server that speaks just enough of MLflow's REST to name one version and hand out its files, or worse."""

import gzip
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from mlflow_model.bundle.bundles import MANIFEST, Bundle
from mlflow_model.registry.versions import DIGEST_TAG

ALIAS = "/api/2.0/mlflow/registered-models/alias"
DOWNLOAD_URI = "/api/2.0/mlflow/model-versions/get-download-uri"
FILES = "/files/artifacts/bundle/"


class HostileRegistry(ThreadingHTTPServer):
    """Sound until `behaviour` says what else to do for a path, or for the name of a file."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bundle = bundle
        self.version: dict[str, Any] = {"version": "1", "status": "READY", "name": "scoring-client"}
        self.behaviour: dict[str, str] = {}
        self.asked: list[str] = []
        self.is_over, self.goes_on = threading.Event(), threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def content(self, path: str) -> bytes | None:
        if path.startswith(FILES):
            files = {**self.bundle.files, MANIFEST: self.bundle.manifest}
            return files.get(path.removeprefix(FILES))
        tags = [{"key": DIGEST_TAG, "value": self.bundle.digest}]
        answers: dict[str, Any] = {
            ALIAS: {"model_version": {"source": "x", "tags": tags, **self.version}},
            "/api/2.0/mlflow/registered-models/get": {"registered_model": {"name": "scoring-client"}},
            DOWNLOAD_URI: {"artifact_uri": f"{self.url}/files"},
        }
        return json.dumps(answers[path]).encode() if path in answers else None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has had enough is no error."""


class _Handler(BaseHTTPRequestHandler):
    server: HostileRegistry

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.server.asked.append(path)
        alias = parse_qs(urlsplit(self.path).query).get("alias", [""])[0]
        keys = (f"@{alias}", path, path.rpartition("/")[2])
        how = next((self.server.behaviour[key] for key in keys if key in self.server.behaviour), "sound")
        getattr(self, f"_{how}")(path)

    def _sound(self, path: str) -> None:
        content = self.server.content(path)
        self._begin(404 if content is None else 200, {"Content-Length": str(len(content or b""))})
        self.wfile.write(content or b"")

    def _endless(self, _: str) -> None:
        """A JSON document whose one text never ends."""
        self._begin(200, {})
        self.wfile.write(b'{"x": "')
        while not self.server.is_over.is_set():
            self.wfile.write(b"x" * 2**20)

    def _gzip_bomb(self, _: str) -> None:
        """A thousand times as much as is sent."""
        self._begin(200, {"Content-Encoding": "gzip"})
        packed = gzip.compress(bytes(2**24))
        for _number in range(256):
            self.wfile.write(packed)

    def _dribble(self, _: str) -> None:
        self._begin(200, {"Content-Length": "1000000"})
        while not self.server.is_over.is_set():
            self.wfile.write(b" ")
            time.sleep(0.05)

    def _silent(self, _: str) -> None:
        self.server.is_over.wait()

    def _late(self, path: str) -> None:
        """As soon as the test lets it go on."""
        self.server.goes_on.wait()
        self._sound(path)

    def _later(self, _: str) -> None:
        """In an hour, it says."""
        self._begin(429, {"Content-Length": "0", "Retry-After": "3600"})

    def _broken(self, _: str) -> None:
        self._say(400, b'{"error_code": "INTERNAL_ERROR", "message": "connection pool not found"}')

    def _page(self, _: str) -> None:
        """Of some other server."""
        self._say(404, b"<h1>404 not found</h1>")

    def _nameless(self, _: str) -> None:
        self._say(200, b"{}")

    def _say(self, status: int, content: bytes) -> None:
        self._begin(status, {"Content-Length": str(len(content))})
        self.wfile.write(content)

    def _redirected(self, _: str) -> None:
        self._begin(302, {"Location": self.path, "Content-Length": "0"})

    def _cut(self, path: str) -> None:
        content = self.server.content(path) or b""
        self._begin(200, {"Content-Length": str(len(content))})
        self.wfile.write(content[: len(content) // 2])

    def _forbidden(self, _: str) -> None:
        self._begin(403, {"Content-Length": "0"})

    def _missing(self, _: str) -> None:
        self._begin(404, {"Content-Length": "0"})

    def _garbled(self, _: str) -> None:
        """JSON, and nothing that MLflow could make a version of."""
        self._say(200, b'{"model_version": [[]]}')

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def hostile_registry(bundle: Bundle) -> Iterator[HostileRegistry]:
    with HostileRegistry(bundle) as server:
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        try:
            yield server
        finally:
            server.is_over.set()
            server.goes_on.set()
            server.shutdown()
