"""A registry with two versions and a service that follows it, for the tests of versions that arrive."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from mlflow_model.bundle import bundles
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import DecisionPolicy
from mlflow_model.handover.card import ModelCard
from mlflow_model.registry import connection, registration, versions
from tests import servers
from tests.conftest import copied_registry
from tests.servers import JSON, Door, SocketDoor

SOON = 0.3  # seconds between two looks at the registry


def policy_of(bundle: Bundle, threshold: float, margin: float = 0.02, more_code: bytes = b"") -> Bundle:
    return bundles.build(
        bundle.files["model.txt"].decode(),
        bundle.scorer().features,
        DecisionPolicy(threshold, margin),
        source=bundle.source,
        scoring_source=bundles.SCORING_SOURCE.read_bytes() + more_code,
    )


@dataclass
class Registry:
    """A registry of its own: version 1 with threshold 0.25 is champion, version 2 has 0.5."""

    folder: Path
    bundles: dict[str, Bundle] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return servers.registry_in(self.folder) | {"RELOAD_SECONDS": str(SOON)}

    def add(self, bundle: Bundle, alias: str = "candidate") -> str:
        number = registration.register(bundle, ModelCard("# Card\n"), alias=alias).number
        self.bundles[str(number)] = bundle
        return str(number)

    def point(self, version: str, alias: str = "champion") -> None:
        connection.connect().set_registered_model_alias(versions.NAME, alias, version)

    def artifact(self, version: str) -> Path:
        """Where the registry keeps a version's bundle."""
        manifest = self.bundles[version].manifest
        found = self.folder.rglob("bundle/manifest.json")
        return next(path.parent for path in found if path.read_bytes() == manifest)

    def damaged(self, version: str, name: str = "policy.json") -> None:
        file = self.artifact(version) / name
        file.write_bytes(file.read_bytes()[:-1])


def with_champion(bundle: Bundle, registry: Registry, folder: Path) -> Registry:
    """A copy of the registry with one version more, which is champion."""
    copied_registry(registry.folder, folder)
    copy = Registry(folder, dict(registry.bundles))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", copy.environment["MLFLOW_TRACKING_URI"])
        copy.point(copy.add(bundle))
    return copy


@contextmanager
def serving(live: Registry, workers: int = 1, **more: str) -> Iterator[SocketDoor]:
    with servers.api(
        live.environment | more, live.folder / "log", options=("--workers", str(workers))
    ) as door:
        servers.ready(door)
        servers.eventually(lambda: door.get("/ready").content["confirmed"] or None, "a confirmed model")
        yield door


def version_of(door: SocketDoor) -> str:
    return str(door.get("/ready").content["version"])


def serves(door: SocketDoor, version: str) -> None:
    servers.eventually(lambda: version_of(door) == version or None, f"version {version}")


def is_content_with(door: SocketDoor, version: str) -> bool | None:
    content = door.get("/ready").content
    return (content["version"], content["doubt"]) == (version, None) or None


def doubt(door: SocketDoor, part: str) -> str:
    """The doubt at /ready, as soon as it holds this part."""

    def attempt() -> str | None:
        found = door.get("/ready").content["doubt"]
        return found if found and part in found else None

    return servers.eventually(attempt, f"doubt: {part}")


def metric(door: SocketDoor, name: str) -> float:
    lines = door.get("/metrics").body.decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def metrics(door: Door) -> dict[str, float]:
    lines = door.get("/metrics").body.decode().splitlines()
    pairs = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name: float(value) for name, _, value in pairs}


def workers_of(door: SocketDoor) -> list[int]:
    return children_of(door, "api.server.worker")


def children_of(door: SocketDoor, module: str) -> list[int]:
    """The processes of this module that the API has started, whichever of its threads did."""
    children = [
        servers.read_of_process(file).split() for file in Path(f"/proc/{door.pid}/task").glob("*/children")
    ]
    pids = [int(pid) for found in children for pid in found]
    return [pid for pid in pids if module in servers.command_line(pid)]


def computing_processes(door: SocketDoor) -> list[int]:
    """Those of the one worker."""
    return children_of(replace(door, pid=workers_of(door)[0]), "api.deciding.computing_process")


def line_with(door: SocketDoor, part: str) -> str:
    """Of the log, which is written beside the answers."""
    return servers.eventually(
        lambda: next((line for line in door.said.splitlines() if part in line), None), f"a line with {part}"
    )


def is_asleep(pid: int) -> bool:
    """In a strange version's time.sleep, not in the wait for a task."""
    return "nanosleep" in Path(f"/proc/{pid}/wchan").read_text()


@dataclass
class Load:
    """Clients that ask 200 times a second together, and hold every answer against the version it names."""

    door: SocketDoor
    body: bytes
    thresholds: Mapping[str, float]
    met: Counter[str] = field(default_factory=Counter)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def going_on(self, clients: int = 8) -> Iterator["Load"]:
        threads = [threading.Thread(target=self._ask, args=[0.04]) for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _ask(self, pause: float) -> None:
        """A new connection for every tenth request, so that all workers are met."""
        while not self._stop.is_set():
            with closing(HTTPConnection("127.0.0.1", self.door.port, timeout=10)) as connection:
                for _ in range(10):
                    time.sleep(pause)
                    self.met[self._outcome(connection)] += 1

    def _outcome(self, connection: HTTPConnection) -> str:
        try:
            connection.request("POST", "/predict", self.body, JSON)
            response = connection.getresponse()
            content = json.loads(response.read())
        except (OSError, HTTPException):
            connection.close()
            return "lost"
        if response.status != 200:
            return str(response.status)
        version = response.headers["X-Model-Version"]
        return version if content["optimal_threshold"] == self.thresholds[version] else "wrong"

    @property
    def faults(self) -> dict[str, int]:
        return {outcome: count for outcome, count in self.met.items() if outcome not in self.thresholds}


THRESHOLDS = {"1": 0.25, "2": 0.5}


def all_serve(door: SocketDoor, version: str) -> None:
    """Every worker: 40 new connections in a row meet this version alone."""
    serves(door, version)
    servers.eventually(
        lambda: {version_of(door) for _ in range(40)} == {version} or None, f"all on {version}"
    )
