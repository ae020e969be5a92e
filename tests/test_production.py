"""What an operator relies on: `python api/app.py` under load, with slow clients, restarts and losses."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from api.server import http_deadlines
from mlflow_model.registry import moves
from tests import servers
from tests.conftest import copied_registry
from tests.servers import JSON, ROOT, SocketDoor

pytest_plugins = ["tests.api_support"]


@contextmanager
def production(pickle: Path, folder: Path, workers: int = 2, root: Path = ROOT) -> Iterator[SocketDoor]:
    """An API with a model and all its workers answering."""
    options = ("--workers", str(workers))
    environment = servers.alone(pickle, folder)
    with servers.api(environment, folder / "log", folder, str(root / "api" / "app.py"), options) as door:
        servers.eventually(lambda: all_answer(door, workers) or None, "every worker with a model")
        yield door


def all_answer(door: SocketDoor, workers: int) -> bool:
    return len(workers_of(door)) == workers and {door.get("/ready").status for _ in range(30)} == {200}


def workers_of(door: SocketDoor) -> set[int]:
    """The processes that answer."""
    children = Path(f"/proc/{door.pid}/task/{door.pid}/children").read_text().split()
    return {int(pid) for pid in children if "api.server.worker" in servers.command_line(int(pid))}


# ---- Under load


@dataclass
class Load:
    """Clients that ask again and again, on new connections or on one that is kept, and what they met."""

    port: int
    body: bytes
    met: Counter[str] = field(default_factory=Counter)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def going_on(self, fresh: int = 2, kept: int = 2) -> Iterator["Load"]:
        """With so many clients of each kind. At the end every request has had its outcome."""
        clients = [threading.Thread(target=self._on_new_connections) for _ in range(fresh)]
        clients += [threading.Thread(target=self._on_one_connection) for _ in range(kept)]
        for client in clients:
            client.start()
        try:
            yield self
        finally:
            self._stop.set()
            for client in clients:
                client.join()

    def _on_new_connections(self) -> None:
        while not self._stop.wait(0.005):
            connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
            with closing(connection):
                try:
                    connection.connect()
                except OSError:
                    self.met["refused"] += 1
                    continue
                self._ask(connection, "lost")

    def _on_one_connection(self) -> None:
        """As clients with a pool do: after `Connection: close` the next request takes a new connection."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            while not self._stop.wait(0.005):
                try:
                    if connection.sock is None:
                        connection.connect()
                except OSError:
                    self.met["refused"] += 1
                    continue
                self._ask(connection, "lost on keep-alive")

    def _ask(self, connection: HTTPConnection, otherwise: str) -> None:
        try:
            connection.request("POST", "/predict", self.body, JSON)
            answer = connection.getresponse()
            answer.read()
        except (OSError, HTTPException):
            connection.close()
            self.met[otherwise] += 1
        else:
            self.met[str(answer.status)] += 1


def test_sigterm_answers_every_request_that_was_accepted(
    documented_pickle: Path, tmp_path: Path, body: bytes
) -> None:
    with production(documented_pickle, tmp_path) as door, Load(door.port, body).going_on() as load:
        time.sleep(1)
        os.kill(door.pid, signal.SIGTERM)
        servers.eventually(lambda: load.met["refused"] or None, "the end of the service")

    del load.met["refused"]
    assert set(load.met) == {"200"}
    assert load.met["200"] > 50


@pytest.fixture(scope="module")
def service(documented_pickle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SocketDoor]:
    """A service with two workers, for the tests that leave it with two."""
    with production(documented_pickle, tmp_path_factory.mktemp("service")) as door:
        yield door


def test_an_exchange_of_the_workers_refuses_and_loses_nobody(service: SocketDoor, body: bytes) -> None:
    former = workers_of(service)
    with Load(service.port, body).going_on() as load:
        os.kill(service.pid, signal.SIGHUP)
        servers.eventually(
            lambda: (len(workers_of(service)) == 2 and not workers_of(service) & former) or None,
            "new workers",
        )
        time.sleep(0.5)

    assert set(load.met) == {"200"}


def test_a_killed_worker_is_replaced_while_the_others_answer(service: SocketDoor, body: bytes) -> None:
    victim = min(workers_of(service))
    os.kill(victim, signal.SIGKILL)
    meanwhile = [service.send("POST", "/predict", body, JSON).status for _ in range(20)]
    servers.eventually(
        lambda: (len(workers_of(service)) == 2 and victim not in workers_of(service)) or None,
        "another worker",
    )
    servers.eventually(lambda: all_answer(service, 2) or None, "every worker with a model")

    assert meanwhile == [200] * 20


@pytest.mark.slow
def test_workers_that_cannot_start_do_not_replace_those_that_answer(
    documented_pickle: Path, tmp_path: Path, body: bytes
) -> None:
    release = tmp_path / "release"
    for package in ("api", "mlflow_model", "features"):
        shutil.copytree(ROOT / package, release / package)
    with production(documented_pickle, tmp_path, root=release) as door:
        former = workers_of(door)
        (release / "api" / "server" / "lane.py").write_text("raise SystemExit('a bad release')")
        os.kill(door.pid, signal.SIGHUP)
        servers.eventually(lambda: "the former workers go on" in door.said or None, "the log to say so")
        servers.eventually(lambda: workers_of(door) == former or None, "the former workers alone")
        answer = door.send("POST", "/predict", body, JSON)

    assert answer.status == 200


# ---- Slow, broken and greedy clients


@pytest.mark.slow
def test_slow_clients_delay_nobody_and_are_closed_at_the_deadline(
    documented_pickle: Path, tmp_path: Path, body: bytes
) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 900\r\n"
    with production(documented_pickle, tmp_path, workers=1) as door:
        slow = [connected(door, head + (b"X-Slow: " if place % 2 else b"\r\n{")) for place in range(200)]
        started = time.monotonic()
        with Load(door.port, body).going_on() as load:
            while time.monotonic() < started + http_deadlines.RECEIVE_SECONDS - 1:
                time.sleep(1)
                for connection in slow:
                    connection.sendall(b" ")
            endings = [received(connection) for connection in slow]
        lasted = time.monotonic() - started

    assert set(load.met) == {"200"}
    assert all(ending.startswith(b"HTTP/1.1 408 ") for ending in endings)
    assert lasted < http_deadlines.RECEIVE_SECONDS + 8  # their last byte came a second before the deadline


def connected(door: SocketDoor, request: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", door.port), timeout=20)
    connection.sendall(request)
    return connection


def received(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    with connection:
        parts = []
        while part := connection.recv(65_536):
            parts.append(part)
        return b"".join(parts)


def test_pipelined_requests_are_answered_in_their_order(socket_door: SocketDoor, body: bytes) -> None:
    decide = (
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    )
    health = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    requests = [decide % (len(body), body), health, decide % (2, b"{}"), health] * 25
    with connected(socket_door, b"".join(requests)) as connection:
        connection.shutdown(socket.SHUT_WR)
        answers = received(connection)

    assert re.findall(rb"HTTP/1\.1 (\d+)", answers) == [b"200", b"200", b"400", b"200"] * 25


def test_a_client_that_expects_100_is_told_to_continue_first(socket_door: SocketDoor, body: bytes) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
    with connected(
        socket_door, head + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
    ) as connection:
        interim = connection.recv(100)
        connection.sendall(body)
        answer = received(connection)

    assert interim == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_body_without_an_end_is_cut(socket_door: SocketDoor) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    endless = b"40000000\r\n" + b" " * 2**26  # far more than sockets hold, and the body goes on
    with connected(socket_door, head) as connection, pytest.raises(ConnectionError):
        connection.sendall(endless)


# ---- Light workers


@pytest.mark.slow
def test_a_worker_loads_nothing_heavy(documented_pickle: Path, tmp_path: Path, body: bytes) -> None:
    code = f"""
import asyncio, sys
from pathlib import Path
from api.delivery import loader
from api.server import worker
from api.server.lane import Lane
from api.delivery.news import Copy, News
from api.delivery.served import ServedModel
from api.deciding.service import Service
from tests.wire import Wire

async def ask(lane, request):
    wire = Wire(lane)
    wire.send(request)
    print(*await wire.until(1))

served = ServedModel()
served.hear(News(Copy(sys.argv[1], "x", None, None)))
for line in (b"POST /predict", b"POST /predict/batch", b"GET /docs", b"GET /ready"):
    head = b" HTTP/1.1\\r\\nHost: x\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n"
    asyncio.run(ask(Lane(Service(served)), line + head % {len(body)} + {body!r}))
print([name for name in {HEAVY} if name in sys.modules])
"""
    command = [sys.executable, "-m", "api.delivery.loader", str(documented_pickle), str(tmp_path)]
    found = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
    shown = subprocess.run(
        [sys.executable, "-c", code, found["copy"]["folder"]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert shown.stdout.split("\n")[-2] == "[]"
    assert shown.stdout.split()[:4] == ["200", "400", "200", "200"]


HEAVY = ("mlflow", "lightgbm", "pandas", "sklearn", "scipy", "pyarrow")

# ---- Starting from the verified copy


@pytest.fixture(scope="module")
def known_registry(three_versions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry from which an API has served the champion before; only the last test moves it."""
    folder = tmp_path_factory.mktemp("registry")
    copied_registry(three_versions, folder)
    with servers.api(servers.registry_in(folder), folder / "log") as door:
        servers.ready(door)
    return folder


@pytest.mark.slow
def test_a_start_without_the_registry_serves_the_verified_copy_and_says_so(
    known_registry: Path, body: bytes
) -> None:
    (known_registry / "mlflow.db").rename(known_registry / "away.db")

    with servers.api(servers.registry_in(known_registry), known_registry / "log") as door:
        ready = servers.ready(door).content
        decided = door.send("POST", "/predict", body, JSON)
        metrics = door.get("/metrics").body.decode().splitlines()

        def regretted() -> Mapping[str, Any] | None:
            content: Mapping[str, Any] = door.get("/ready").content
            return content if "aucun registre" in content["doubt"] else None

        later = servers.eventually(regretted, "the reason why it is not confirmed")
    (known_registry / "away.db").rename(known_registry / "mlflow.db")

    assert (ready["version"], ready["confirmed"]) == ("1", False)
    assert (decided.status, decided.headers["X-Model-Confirmed"]) == (200, "no")
    assert "scoring_model_confirmed 0.0" in metrics
    assert (later["version"], later["confirmed"]) == ("1", False)


@pytest.mark.slow
def test_the_store_by_default_is_remembered_like_any_other(
    documented_pickle: Path, migrated_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without MLFLOW_TRACKING_URI, as the README starts it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    release, cache = tmp_path / "release", {"MODEL_CACHE": str(tmp_path / "cache")}
    for package in ("api", "mlflow_model", "features", "promotion", "quality", "explain"):
        shutil.copytree(ROOT / package, release / package)
    shutil.copy(ROOT / "register.py", release)
    shutil.copy(migrated_store, release / "mlflow.db")
    command = [sys.executable, "register.py", "--pickle", str(documented_pickle)]
    subprocess.run(command, cwd=release, check=True, capture_output=True)
    with servers.api(cache, tmp_path / "log", release) as door:
        servers.ready(door)
    (release / "mlflow.db").rename(release / "away.db")

    with servers.api(cache, tmp_path / "log", release) as door:
        ready = servers.ready(door).content

    assert (ready["version"], ready["confirmed"]) == ("1", False)


@pytest.mark.slow
def test_a_copy_that_was_tampered_with_is_not_served(known_registry: Path) -> None:
    for policy in (known_registry / "cache").glob("*/policy.json"):
        policy.write_text(policy.read_text().replace("0.25", "0.95"))

    with servers.api(servers.registry_in(known_registry), known_registry / "log") as door:
        content = servers.ready(door).content

    assert (content["confirmed"], content["policy"]["optimal_threshold"]) == (True, 0.25)


@pytest.mark.slow
def test_a_copy_that_is_no_longer_the_champion_is_replaced_within_seconds(
    known_registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = servers.registry_in(known_registry)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", environment["MLFLOW_TRACKING_URI"])
    moves.promote(2)

    with servers.api(environment, known_registry / "log", options=("--workers", "2")) as door:
        first = servers.ready(door).content

        def corrected() -> Mapping[str, Any] | None:
            content: Mapping[str, Any] = door.get("/ready").content
            return content if content["confirmed"] else None

        last = servers.eventually(corrected, "the registry's confirmation")

    assert (first["version"], first["confirmed"]) == ("1", False)
    assert (last["version"], last["doubt"]) == ("2", None)
