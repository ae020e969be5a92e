"""New versions arrive without a restart, and only good ones: no wrong answer, none lost."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlflow_model.bundle import signing
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.registry import connection, versions
from tests import servers
from tests.conftest import copied_registry
from tests.live import (
    SOON,
    Registry,
    doubt,
    is_content_with,
    metric,
    metrics,
    policy_of,
    serves,
    serving,
    version_of,
    workers_of,
)
from tests.servers import JSON, SocketDoor

pytest_plugins = ["tests.live_support"]


# ---- Arriving


@pytest.fixture(scope="module")
def following(
    two_versions: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Registry, SocketDoor]]:
    """A registry and a service that follows it, for the tests that leave both whole."""
    folder = tmp_path_factory.mktemp("following")
    copied_registry(two_versions.folder, folder)
    copy = Registry(folder, dict(two_versions.bundles))
    with serving(copy) as door:
        yield copy, door


@pytest.fixture
def served(following: tuple[Registry, SocketDoor], monkeypatch: pytest.MonkeyPatch) -> SocketDoor:
    """That service on version 1, without a doubt; the registry is this process's too."""
    live, door = following
    monkeypatch.setenv("MLFLOW_TRACKING_URI", live.environment["MLFLOW_TRACKING_URI"])
    live.point("1")
    servers.eventually(lambda: is_content_with(door, "1"), "version 1")
    return door


@pytest.fixture
def shared(following: tuple[Registry, SocketDoor]) -> Registry:
    return following[0]


def test_moving_the_alias_is_the_deployment(
    shared: Registry, served: SocketDoor, documented_request: dict[str, float]
) -> None:
    before = served.predict(documented_request)
    shared.point("2")
    serves(served, "2")
    after = served.predict(documented_request)

    assert (before.headers["X-Model-Version"], before.content["optimal_threshold"]) == ("1", 0.25)
    assert (after.headers["X-Model-Version"], after.content["optimal_threshold"]) == ("2", 0.5)
    assert after.headers["X-Model-Digest"] == shared.bundles["2"].digest


DEADLY = b"\nimport os, sys\nos._exit(7) if 'mlflow_model.bundle.trial' in sys.orig_argv else None\n"


def damage(live: Registry, version: str) -> None:
    live.damaged(version)


def lose(live: Registry, version: str) -> None:
    (live.artifact(version) / "model.txt").unlink()


BROKEN: dict[str, tuple[Callable[[Registry, str], None], float, str]] = {
    "a damaged file": (damage, 0.31, "refusée : l’empreinte de 'policy.json'"),
    "a lost file": (lose, 0.32, "refusée : bundle incomplet"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_version_is_refused_once_and_the_former_one_goes_on(
    shared: Registry, served: SocketDoor, bundle: Bundle, broken: str, documented_request: dict[str, float]
) -> None:
    break_it, threshold, sentence = BROKEN[broken]
    version = shared.add(policy_of(bundle, threshold))
    break_it(shared, version)
    before = metric(served, "scoring_model_refusals_total")

    shared.point(version)
    said = doubt(served, f"version {version} de scoring-client {sentence}")
    time.sleep(5 * SOON)
    answer = served.predict(documented_request)

    assert (answer.status, answer.headers["X-Model-Version"]) == (200, "1")
    assert metric(served, "scoring_model_refusals_total") == before + 1
    assert served.said.count(said.split(" : ", 1)[1].split(" ;")[0]) == 1


def test_files_that_are_out_of_reach_are_no_refusal_and_arrive_later(
    shared: Registry, served: SocketDoor, bundle: Bundle
) -> None:
    version = shared.add(policy_of(bundle, 0.33))
    home = shared.artifact(version)
    before = metric(served, "scoring_model_refusals_total")
    home.rename(home.with_name("away"))

    shared.point(version)
    said = doubt(served, f"les fichiers de la version {version} de scoring-client sont hors d’atteinte")
    home.with_name("away").rename(home)
    serves(served, version)

    assert "refusée" not in said
    assert metric(served, "scoring_model_refusals_total") == before


def test_a_version_that_kills_its_process_is_refused(
    shared: Registry, served: SocketDoor, bundle: Bundle, documented_request: dict[str, float]
) -> None:
    deadly = shared.add(policy_of(bundle, 0.4, more_code=DEADLY))

    shared.point(deadly)
    doubt(served, f"version {deadly} de scoring-client refusée : la version arrête le processus")
    shared.point("2")
    serves(served, "2")

    assert served.predict(documented_request).status == 200


def test_an_alias_that_points_to_nothing_changes_nothing(shared: Registry, served: SocketDoor) -> None:
    connection.connect().delete_registered_model_alias(versions.NAME, "champion")
    doubt(served, "models:/scoring-client@champion : introuvable")

    assert version_of(served) == "1"
    shared.point("2")
    serves(served, "2")


def test_a_version_that_is_deleted_goes_on_until_another_is_named(
    shared: Registry, served: SocketDoor, bundle: Bundle
) -> None:
    version = shared.add(policy_of(bundle, 0.33))
    shared.point(version)
    serves(served, version)
    connection.connect().delete_model_version(versions.NAME, version)
    doubt(served, "introuvable")

    assert version_of(served) == version


# ---- A registry that is down


def test_a_registry_that_vanishes_and_comes_back_is_not_noticed_by_callers(
    shared: Registry, served: SocketDoor, documented_request: dict[str, float]
) -> None:
    away = shared.folder / "away.db"
    (shared.folder / "mlflow.db").rename(away)
    doubt(served, "aucun registre")
    during = served.predict(documented_request)
    away.rename(shared.folder / "mlflow.db")
    shared.point("2")
    serves(served, "2")

    assert (during.status, during.headers["X-Model-Version"]) == (200, "1")


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
    assert took < 2  # whoever waits for the registry waits longer


# ---- What is counted


@pytest.mark.slow
def test_metrics_are_right_whichever_worker_is_asked(live: Registry, body: bytes) -> None:
    with serving(live, workers=3) as door:
        for _ in range(60):
            door.send("POST", "/predict", body, JSON)
        with_null = json.dumps(json.loads(body) | {"EXT_SOURCE_1": None}).encode()
        door.send("POST", "/predict", with_null, JSON)
        door.send("POST", "/predict", b"[]", JSON)
        os.kill(workers_of(door)[0], signal.SIGTERM)

        def settled() -> list[dict[str, float]] | None:
            """Every worker has saved what it has counted."""
            page = [metrics(door) for _ in range(10)]
            name = 'scoring_requests_total{{path="/predict",status="{}"}}'
            answers = {(found.get(name.format(200)), found.get(name.format(400))) for found in page}
            return page if answers == {(61, 1)} else None

        page = servers.eventually(settled, "61 answers and a refusal, whichever worker is asked")

    for found in page:
        assert found['scoring_requests_total{path="/predict",status="400"}'] == 1
        assert found['scoring_nulls_total{feature="EXT_SOURCE_1"}'] == 1
        assert found['scoring_decisions_total{prediction="Classe_1 (risqué)",version="1"}'] >= 60
        assert found['scoring_default_probability_count{version="1"}'] == 61
        assert found['scoring_request_duration_seconds_count{path="/predict",status="200"}'] == 61
        assert found["scoring_registry_age_seconds"] < 10


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


@pytest.mark.slow
def test_with_a_public_key_only_signed_versions_are_served(live: Registry, keys: Path) -> None:
    sign(live, "2", keys / "private.pem")
    live.point("2")
    with serving(live, MODEL_PUBLIC_KEY=str(keys / "public.pem")) as door:
        live.point("1")
        doubt(door, "version 1 de scoring-client refusée : la version n’est pas signée")

        assert version_of(door) == "2"


@pytest.mark.slow
def test_a_signature_by_another_key_is_refused(live: Registry, keys: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(other)], check=True)
    sign(live, "1", other)

    with servers.api(
        live.environment | {"MODEL_PUBLIC_KEY": str(keys / "public.pem")}, live.folder / "log"
    ) as door:
        sentence = servers.eventually(lambda: refused_for(door, "signée"), "refusal")

    assert (
        f"la version est signée par la clé {signing.Signer(other).key_id}, que MODEL_PUBLIC_KEY ne"
        in sentence
    )


def refused_for(door: SocketDoor, part: str) -> str | None:
    sentence = door.get("/ready").error
    return sentence if part in sentence else None


def sign(live: Registry, version: str, key: Path) -> None:
    _, text = signing.Signer(key).sign(versions.NAME, live.bundles[version].digest, int(version))
    connection.connect().set_model_version_tag(versions.NAME, version, versions.STATEMENT_TAG, text)
