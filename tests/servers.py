"""The doors that tests knock at: Flask's own client, a real socket, and the servers behind the socket."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, TypeVar

from flask import Flask

from api.delivery.served import Model, ServedModel
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import Scorer

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PATIENCE = 90.0
JSON = {"Content-Type": "application/json"}

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """What came back, byte for byte; the names of headers, whose case means nothing, as `Content-Type`."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The sentence of an answer that must be JSON with the one key `error`."""
        assert self.headers["Content-Type"] == "application/json"
        ((key, sentence),) = self.content.items()
        assert key == "error"
        return str(sentence)


class Door:
    """Somewhere to send a request: method, path, exactly these headers, exactly these bytes."""

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        raise NotImplementedError

    def get(self, path: str) -> Answer:
        return self.send("GET", path)

    def predict(self, client: object) -> Answer:
        return self.send("POST", "/predict", json.dumps(client).encode(), JSON)


@dataclass(frozen=True)
class FlaskDoor(Door):
    app: Flask

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        response = self.app.test_client().open(path, method=method, data=body, headers=dict(headers or {}))
        headers = {name.title(): value for name, value in response.headers}
        return Answer(response.status_code, headers, response.data)


@dataclass(frozen=True)
class SocketDoor(Door):
    """A server process on 127.0.0.1, and the file that holds all that it prints."""

    port: int
    log: Path = field(compare=False)
    pid: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            return _read(connection.getresponse())

    def send_raw(self, request: bytes) -> Answer:
        """Bytes that need not be HTTP at all."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            with closing(HTTPResponse(connection)) as response:
                response.begin()
                return _read(response)


def _read(response: HTTPResponse) -> Answer:
    headers = {name.title(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read())


class Serving(ServedModel):
    """Serves a given model from the first request on, without a loader."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._given = model

    @property
    def model(self) -> Model:
        return self._given


def serving(scorer: Scorer, version: str | None = None) -> Serving:
    return Serving(Model(scorer, "scoring-client", version, "champion" if version else None, "0" * 64))


def with_policy(bundle: Bundle, threshold: float, margin: float) -> Scorer:
    """The bundle's trees under another threshold and margin."""
    policy = json.dumps(bundle.policy | {"threshold": threshold, "margin": margin})
    return Scorer({**bundle.files, "policy.json": policy.encode()})


def read_of_process(path: Path) -> str:
    """A file below /proc; nothing of a process or thread that has just ended."""
    try:
        return path.read_text()
    except OSError:
        return ""


def command_line(pid: int) -> str:
    return read_of_process(Path(f"/proc/{pid}/cmdline"))


def eventually(attempt: Callable[[], T | None], awaited: str) -> T:
    """The first result other than None, within the patience of a newcomer."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if (result := attempt()) is not None:
            return result
        time.sleep(0.05)
    raise TimeoutError(awaited)


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and not only what is left of one until its parent looks."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def descendants(pid: int) -> list[int]:
    """Its children, whichever of its threads started them, and theirs."""
    found = [read_of_process(file).split() for file in Path(f"/proc/{pid}/task").glob("*/children")]
    children = [int(one) for part in found for one in part]
    return [*children, *(one for child in children for one in descendants(child))]


def registry_in(folder: Path) -> dict[str, str]:
    """The environment of a process that works with the registry and the cache of this folder."""
    return {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "MODEL_CACHE": str(folder / "cache"),
    }


def alone(pickle: Path, folder: Path) -> dict[str, str]:
    """The environment of an API that serves a pickle; the registry of this folder is beside the point."""
    return {"MODEL_URI": str(pickle), **registry_in(folder)}


@contextmanager
def process(
    command: list[str], environment: Mapping[str, str], log: Path, folder: Path = ROOT
) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a session of its own. At the end its own process group goes, whatever the test did."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("PORT", "MODEL_URI")}
    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env={**inherited, **environment},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            yield child
        finally:
            _stop(child)


def _stop(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is not None:
        return
    os.killpg(child.pid, signal.SIGTERM)
    try:
        child.wait(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait(timeout=10)


@contextmanager
def api(
    environment: Mapping[str, str],
    log: Path,
    folder: Path = ROOT,
    script: str = "api/app.py",
    options: Sequence[str] = ("--workers", "1"),
) -> Iterator[SocketDoor]:
    """`python api/app.py` on a free port, as soon as it listens; it may have no model yet."""
    with process([sys.executable, script, "--port", "0", *options], environment, log, folder) as child:
        yield listening(child, log)


@contextmanager
def shipped(folder: Path, **more: str) -> Iterator[SocketDoor]:
    """An API that serves the shipped model: the threshold is 1/6, the margin 0.02.

    `more`: of its environment, as a journal.
    """
    environment = alone(ROOT / "models" / "lgbm_final_model.pkl", folder) | more
    with api(environment, folder / "log") as door:
        ready(door)
        yield door


def listening(child: subprocess.Popen[bytes], log: Path) -> SocketDoor:
    """The door of an API that is starting, as soon as its log names the port."""

    def address() -> SocketDoor | None:
        said = log.read_text(encoding="utf-8", errors="replace")
        if child.poll() is not None:
            raise ChildProcessError(said)
        found = re.search(r"http://127\.0\.0\.1:(\d+) ", said)
        return SocketDoor(int(found[1]), log, child.pid) if found else None

    return eventually(address, "the API's address in its log")


def ready(door: Door, path: str = "/ready") -> Answer:
    """The first 200 at a door that may still be loading, or may not even listen yet."""

    def attempt() -> Answer | None:
        try:
            answer = door.get(path)
        except ConnectionError:
            return None
        return answer if answer.status == 200 else None

    return eventually(attempt, f"200 at {path}")


def made_token(name: str, role: str) -> tuple[str, str]:
    """A token, and its line for the file."""
    shown = subprocess.run(
        [sys.executable, "-m", "api.tokens", name, role], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return shown.stderr.removeprefix("Authorization: Bearer ").strip(), shown.stdout


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def invocations(model_uri: str, environment: Mapping[str, str], log: Path) -> Iterator[SocketDoor]:
    """`mlflow models serve` of a registered model, perhaps still starting: wait for /ping."""
    port = free_port()
    command = [str(BIN / "mlflow"), "models", "serve", "-m", model_uri, "--env-manager", "local"]
    command += ["--host", "127.0.0.1", "-p", str(port)]
    path = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    with process(command, {**environment, **path}, log) as child:
        yield SocketDoor(port, log, child.pid)


@contextmanager
def registry_server(store: str, folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """`mlflow server` of this store, as soon as it answers. It keeps the artifacts in this folder."""
    command = [str(BIN / "mlflow"), "server", "--backend-store-uri", store, "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1", "--artifacts-destination", str(folder / "artifacts")]
    path = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    with process(command, path, folder / "mlflow.log", folder) as child:
        eventually(lambda: _is_healthy(port) or None, "MLflow's server")
        yield child


def _is_healthy(port: int) -> bool:
    try:
        with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
    except OSError:
        return False
