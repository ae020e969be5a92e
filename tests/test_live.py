"""New versions arrive without a restart, and only good ones: no wrong answer, none lost."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from mlflow_model import bundle as bundles
from mlflow_model import registry, signing
from mlflow_model.bundle import Bundle
from mlflow_model.card import ModelCard
from mlflow_model.errors import LoadingFailed
from mlflow_model.scoring import DecisionPolicy
from tests import servers
from tests.conftest import copied_registry
from tests.servers import JSON, ROOT, SocketDoor

pytest_plugins = ["tests.api_support"]

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
        number, _ = registry.register(bundle, ModelCard("# Card\n"), alias=alias)
        self.bundles[str(number)] = bundle
        return str(number)

    def point(self, version: str, alias: str = "champion") -> None:
        registry.connect().set_registered_model_alias(registry.NAME, alias, version)

    def artifact(self, version: str) -> Path:
        """Where the registry keeps a version's bundle."""
        manifest = self.bundles[version].manifest
        found = self.folder.rglob("bundle/manifest.json")
        return next(path.parent for path in found if path.read_bytes() == manifest)

    def damaged(self, version: str, name: str = "policy.json") -> None:
        file = self.artifact(version) / name
        file.write_bytes(file.read_bytes()[:-1])


@pytest.fixture(scope="module")
def two_versions(one_version: Path, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    made = Registry(tmp_path_factory.mktemp("two_versions"), {"1": bundle})
    copied_registry(one_version, made.folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", made.environment["MLFLOW_TRACKING_URI"])
        made.add(policy_of(bundle, 0.5))
    return made


@pytest.fixture
def live(two_versions: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    copied_registry(two_versions.folder, tmp_path)
    copy = Registry(tmp_path, dict(two_versions.bundles))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", copy.environment["MLFLOW_TRACKING_URI"])
    registry.connect()
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


def doubt(door: SocketDoor, part: str) -> str:
    """The doubt at /ready, as soon as it holds this part."""

    def attempt() -> str | None:
        found = door.get("/ready").content["doubt"]
        return found if found and part in found else None

    return servers.eventually(attempt, f"doubt: {part}")


def metric(door: SocketDoor, name: str) -> float:
    lines = door.get("/metrics").body.decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


# ---- Arriving


def test_moving_the_alias_is_the_deployment(live: Registry, documented_request: dict[str, float]) -> None:
    with serving(live) as door:
        before = door.predict(documented_request)
        live.point("2")
        serves(door, "2")
        after = door.predict(documented_request)

    assert (before.headers["X-Model-Version"], before.content["optimal_threshold"]) == ("1", 0.25)
    assert (after.headers["X-Model-Version"], after.content["optimal_threshold"]) == ("2", 0.5)
    assert after.headers["X-Model-Digest"] == live.bundles["2"].digest


DEADLY = b"\nimport os\nos._exit(7) if os.environ.get('DEADLY') else None\n"


def damage(live: Registry, version: str) -> None:
    live.damaged(version)


def lose(live: Registry, version: str) -> None:
    shutil.rmtree(live.artifact(version))


BROKEN: dict[str, tuple[Callable[[Registry, str], None], str]] = {
    "a damaged file": (damage, "version 2 de scoring-client refusée : l’empreinte de 'policy.json'"),
    "no artifact": (lose, "version 2 de scoring-client refusée"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_version_is_refused_and_the_former_one_goes_on(
    live: Registry, broken: str, documented_request: dict[str, float]
) -> None:
    break_it, sentence = BROKEN[broken]
    break_it(live, "2")

    with serving(live) as door:
        live.point("2")
        said = doubt(door, sentence)
        time.sleep(5 * SOON)
        answer = door.predict(documented_request)
        refusals = metric(door, "scoring_model_refusals_total")

    assert (answer.status, answer.headers["X-Model-Version"]) == (200, "1")
    assert refusals == 1
    assert door.said.count(said.split(" : ", 1)[1].split(" ;")[0]) == 1


def test_a_version_that_kills_its_process_is_refused(
    live: Registry, bundle: Bundle, documented_request: dict[str, float]
) -> None:
    deadly = live.add(policy_of(bundle, 0.4, more_code=DEADLY))

    with serving(live, DEADLY="1") as door:
        live.point(deadly)
        doubt(door, f"version {deadly} de scoring-client refusée : la version arrête le processus")
        live.point("2")
        serves(door, "2")

        assert door.predict(documented_request).status == 200


def test_an_alias_that_points_to_nothing_changes_nothing(live: Registry) -> None:
    with serving(live) as door:
        registry.connect().delete_registered_model_alias(registry.NAME, "champion")
        doubt(door, "models:/scoring-client@champion : introuvable")

        assert version_of(door) == "1"
        live.point("2")
        serves(door, "2")


def test_a_version_that_is_deleted_goes_on_until_another_is_named(live: Registry) -> None:
    with serving(live) as door:
        live.point("2")
        serves(door, "2")
        registry.connect().delete_model_version(registry.NAME, "2")
        doubt(door, "introuvable")

        assert version_of(door) == "2"


# ---- A registry that is down


def test_a_registry_that_vanishes_and_comes_back_is_not_noticed_by_callers(
    live: Registry, documented_request: dict[str, float]
) -> None:
    away = live.folder / "away.db"
    with serving(live) as door:
        (live.folder / "mlflow.db").rename(away)
        doubt(door, "aucun registre")
        during = door.predict(documented_request)
        away.rename(live.folder / "mlflow.db")
        live.point("2")
        serves(door, "2")

    assert (during.status, during.headers["X-Model-Version"]) == (200, "1")


def test_a_start_without_the_registry_serves_the_last_verified_copy_and_says_so(
    live: Registry, documented_request: dict[str, float]
) -> None:
    with serving(live):
        pass
    (live.folder / "mlflow.db").rename(live.folder / "away.db")

    with servers.api(live.environment, live.folder / "log") as door:
        content = servers.ready(door).content
        answer = door.predict(documented_request)
        unconfirmed = metric(door, "scoring_model_confirmed")

    assert (content["version"], content["confirmed"]) == ("1", False)
    assert (answer.status, answer.headers["X-Model-Confirmed"]) == (200, "no")
    assert unconfirmed == 0


def test_without_a_copy_and_a_registry_the_answer_is_503_at_once(
    tmp_path: Path, documented_request: dict[str, float]
) -> None:
    """The registry accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        environment = servers.registry_in(tmp_path) | store
        with servers.api(environment, tmp_path / "log") as door:
            servers.eventually(lambda: door.get("/health").status == 200 or None, "health")
            started = time.perf_counter()
            answer = door.predict(documented_request)
            took = time.perf_counter() - started

    assert answer.status == 503
    assert took < 0.1


# ---- Under load


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


@pytest.fixture
def body(documented_request: dict[str, float]) -> bytes:
    return json.dumps(documented_request).encode()


def all_serve(door: SocketDoor, version: str) -> None:
    """Every worker: 40 new connections in a row meet this version alone."""
    servers.eventually(
        lambda: {version_of(door) for _ in range(40)} == {version} or None, f"all on {version}"
    )


def test_twenty_moves_under_load_lose_and_confuse_no_answer(live: Registry, body: bytes) -> None:
    slowest = 0.0
    with serving(live, workers=4) as door, Load(door, body, THRESHOLDS).going_on() as load:
        for move in range(20):
            version = str(2 - move % 2)
            live.point(version)
            started = time.monotonic()
            all_serve(door, version)
            slowest = max(slowest, time.monotonic() - started)

    assert load.faults == {}
    assert min(load.met["1"], load.met["2"]) > 100
    assert slowest < 10


def test_a_move_every_second_for_a_minute_confuses_no_answer(live: Registry, body: bytes) -> None:
    """Faster than some of them are noticed."""
    with serving(live, workers=2) as door, Load(door, body, THRESHOLDS).going_on() as load:
        for move in range(60):
            live.point(str(2 - move % 2))
            time.sleep(1)
        all_serve(door, "1")

    assert load.faults == {}
    assert min(load.met["1"], load.met["2"]) > 100


def test_a_worker_killed_in_the_middle_of_a_swap_comes_back_on_the_new_version(
    live: Registry, body: bytes
) -> None:
    with serving(live, workers=2) as door, Load(door, body, THRESHOLDS).going_on() as load:
        for move in range(4):
            version = str(2 - move % 2)
            live.point(version)
            time.sleep(SOON + 0.15 * move)
            os.kill(workers_of(door)[0], signal.SIGKILL)
            all_serve(door, version)

    assert set(load.faults) <= {"lost"}  # those that the killed worker had accepted
    assert load.met["lost"] <= 4 * 8


def workers_of(door: SocketDoor) -> list[int]:
    children = Path(f"/proc/{door.pid}/task/{door.pid}/children").read_text().split()
    return [int(pid) for pid in children if "api.worker" in Path(f"/proc/{pid}/cmdline").read_text()]


def test_old_models_are_freed(bundle: Bundle, tmp_path: Path) -> None:
    """A process that swaps two models a hundred times does not grow."""
    other = policy_of(bundle, 0.5)
    for one in (bundle, other):
        one.write(tmp_path / one.digest)
    code = """
import resource, sys
from api.news import Copy, News
from api.served import ServedModel

served = ServedModel()
def swap(times):
    for number in range(times):
        assert served.hear(News(Copy(sys.argv[1 + number % 2], "x", str(number), None)))
        served.model.scorer.decide({name: 1 for name in served.model.scorer.features})
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * resource.getpagesize()

first = swap(20)
print(swap(100) - first)
"""
    folders = [str(tmp_path / one.digest) for one in (bundle, other)]
    shown = subprocess.run(
        [sys.executable, "-c", code, *folders], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert int(shown.stdout) < 2 * 1024 * 1024


# ---- Damage of every kind


def test_two_hundred_corruptions_of_a_registered_model_give_the_true_bundle_or_a_refusal(
    live: Registry,
) -> None:
    generator = random.Random(6)  # noqa: S311 - no secret
    home = live.artifact("1").parents[1]
    files = sorted(path for path in home.rglob("*") if path.is_file())
    named = registry.resolve("models:/scoring-client@champion")
    outcomes: Counter[str] = Counter()
    for number in range(200):
        file = files[number % len(files)]
        sound = file.read_bytes()
        file.write_bytes(corrupted(sound, generator))
        try:
            assert registry.download(named) == live.bundles["1"]
            outcomes["true"] += 1
        except LoadingFailed:
            outcomes["refused"] += 1
        file.write_bytes(sound)

    assert outcomes.total() == 200
    assert outcomes["refused"] >= 200 * len(bundles.FILES) // len(files)


def corrupted(content: bytes, generator: random.Random) -> bytes:
    """A bit turned, a piece gone, a piece doubled, the end cut off, or nothing left."""
    place = generator.randrange(max(1, len(content)))
    changed = bytes([content[place] ^ (1 << generator.randrange(8))]) if content else b"x"
    return generator.choice(
        [
            content[:place] + changed + content[place + 1 :],
            content[:place] + content[place + 7 :],
            content[:place] + content[place : place + 7] + content[place:],
            content[:place],
            b"",
        ]
    )


def test_a_full_disk_leaves_no_half_copy(live: Registry, tmp_path: Path) -> None:
    """No file may grow beyond 8 KiB: a bundle does not fit."""
    folder = tmp_path / "full"
    command = [sys.executable, "-m", "api.loader", "models:/scoring-client@champion", str(folder)]
    limited = ["prlimit", "--fsize=8192", *command]

    shown = subprocess.run(
        limited, cwd=ROOT, env={**os.environ, **live.environment}, capture_output=True, check=True
    )

    news = json.loads(shown.stdout)
    assert news["copy"] is None
    assert "plein" in news["problem"]
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_no_clock_that_can_jump_says_when_to_look() -> None:
    """time.time() is there for the age of files alone."""
    users = [path.name for path in (ROOT / "api").glob("*.py") if "time.time()" in path.read_text()]

    assert users == ["cache.py"]


# ---- What is counted


def test_metrics_are_right_whichever_worker_is_asked(live: Registry, body: bytes) -> None:
    with serving(live, workers=3) as door:
        for _ in range(60):
            door.send("POST", "/predict", body, JSON)
        with_null = json.dumps(json.loads(body) | {"EXT_SOURCE_1": None}).encode()
        door.send("POST", "/predict", with_null, JSON)
        door.send("POST", "/predict", b"[]", JSON)
        os.kill(workers_of(door)[0], signal.SIGTERM)
        time.sleep(1.2)  # more than twice what saving takes
        page = [metrics(door) for _ in range(10)]

    for found in page:
        assert found['scoring_requests_total{path="/predict",status="200"}'] == 61
        assert found['scoring_requests_total{path="/predict",status="400"}'] == 1
        assert found['scoring_nulls_total{feature="EXT_SOURCE_1"}'] == 1
        assert found['scoring_decisions_total{prediction="Classe_1 (risqué)",version="1"}'] >= 60
        assert found['scoring_default_probability_count{version="1"}'] == 61
        assert found['scoring_request_duration_seconds_count{path="/predict",status="200"}'] == 61
        assert found["scoring_registry_age_seconds"] < 10


def metrics(door: SocketDoor) -> dict[str, float]:
    lines = door.get("/metrics").body.decode().splitlines()
    pairs = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name: float(value) for name, _, value in pairs}


# ---- The challenger


def test_a_challenger_decides_beside_and_its_disagreements_are_counted(live: Registry, body: bytes) -> None:
    live.point("2", alias="challenger")
    with serving(live, SHADOW_SHARE="1") as door:
        servers.eventually(lambda: "comparing with" in door.said or None, "the challenger")
        servers.eventually(
            lambda: asked(door, body, "scoring_shadow_comparisons_total") or None, "a comparison"
        )
        found = metrics(door)

    pairs = [name for name in found if name.startswith("scoring_shadow_comparisons_total")]
    assert len(pairs) == 1
    assert 'version="1"' in pairs[0]
    assert 'challenger="2"' in pairs[0]


def asked(door: SocketDoor, body: bytes, name: str) -> float:
    """The metric after one more request."""
    assert door.send("POST", "/predict", body, JSON).headers["X-Model-Version"] == "1"
    time.sleep(0.2)
    return metric(door, name)


SLOW = b"""
import time
Scorer.decide = (lambda decide: lambda *given: (time.sleep(30), decide(*given))[1])(Scorer.decide)
"""
FAILING = b"""
Scorer.decide = lambda *given: 1 / 0
"""


@pytest.mark.parametrize("code", [SLOW, FAILING], ids=["slow", "failing"])
def test_a_challenger_that_misbehaves_does_not_touch_an_answer(
    live: Registry, bundle: Bundle, body: bytes, code: bytes
) -> None:
    live.add(policy_of(bundle, 0.4, more_code=code), alias="challenger")
    with serving(live, SHADOW_SHARE="1") as door:
        servers.eventually(lambda: "comparing with" in door.said or None, "the challenger")
        time.sleep(1)
        times = sorted(timed(door, body) for _ in range(300))

    assert times[-10] < 0.05


def timed(door: SocketDoor, body: bytes) -> float:
    started = time.perf_counter()
    assert door.send("POST", "/predict", body, JSON).status == 200
    return time.perf_counter() - started


# ---- Signatures


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """private.pem and public.pem, by OpenSSL."""
    folder = tmp_path / "keys"
    folder.mkdir()
    private, public = str(folder / "private.pem"), str(folder / "public.pem")
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    return folder


def test_with_a_public_key_only_signed_versions_are_served(live: Registry, keys: Path) -> None:
    sign(live, "2", keys / "private.pem")
    live.point("2")
    with serving(live, MODEL_PUBLIC_KEY=str(keys / "public.pem")) as door:
        live.point("1")
        doubt(door, "version 1 de scoring-client refusée : la version n’est pas signée")

        assert version_of(door) == "2"


def test_a_signature_by_another_key_is_refused(live: Registry, keys: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(other)], check=True)
    sign(live, "1", other)

    with servers.api(
        live.environment | {"MODEL_PUBLIC_KEY": str(keys / "public.pem")}, live.folder / "log"
    ) as door:
        sentence = servers.eventually(lambda: refused_for(door, "signature"), "refusal")

    assert "la signature n’est pas celle de la clé MODEL_PUBLIC_KEY" in sentence


def refused_for(door: SocketDoor, part: str) -> str | None:
    sentence = door.get("/ready").error
    return sentence if part in sentence else None


def sign(live: Registry, version: str, key: Path) -> None:
    signature = signing.sign(live.bundles[version].manifest, key)
    registry.connect().set_model_version_tag(registry.NAME, version, "bundle.signature", signature)
