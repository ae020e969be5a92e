"""A past decision is explained by the version that made it, as long as the registry has that very version."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mlflow_model.registry import connection, versions
from tests import servers
from tests.conftest import copied_registry
from tests.journal_support import erased
from tests.live import Registry, computing_processes, serves, serving, workers_of
from tests.review_support import Bank, Client, bank_in
from tests.servers import JSON, Answer, SocketDoor

pytest_plugins = ["tests.live_support", "tests.review_fixtures"]
pytestmark = pytest.mark.slow

GONE = (
    "La version 1 de scoring-client, qui a statué, n’est plus dans le registre : "
    "la décision ne peut pas être expliquée."
)
CHANGED = (
    "La version 1 de scoring-client n’est plus dans le registre telle qu’elle a statué : "
    "la décision ne peut pas être expliquée."
)


@contextmanager
def superseded(live: Registry, client: Client) -> Iterator[tuple[SocketDoor, str, Any]]:
    """A service of version 2, a decision of version 1, and how that version has explained it."""
    url = f"sqlite:///{live.folder / 'journal.db'}"
    with serving(live, JOURNAL_URL=url) as door:
        decided = door.predict(client)
        explained = door.send("POST", "/explain", json.dumps(client).encode(), JSON).content
        live.point("2")
        serves(door, "2")
        yield door, decided.headers["X-Decision-Id"], explained


def explanation(door: SocketDoor, decision: str) -> Answer:
    return door.get(f"/decisions/{decision}/explanation")


Aged = tuple[SocketDoor, str, Any]


@pytest.fixture(scope="module")
def of_aged(two_versions: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The registry of the service of version 2."""
    folder = tmp_path_factory.mktemp("aged")
    copied_registry(two_versions.folder, folder)
    copy = Registry(folder, dict(two_versions.bundles))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", copy.environment["MLFLOW_TRACKING_URI"])
        connection.connect()
        yield copy


@pytest.fixture(scope="module")
def aged(of_aged: Registry, client_of_each_label: dict[str, Client]) -> Iterator[Aged]:
    with superseded(of_aged, client_of_each_label["grey"]) as found:
        yield found


def test_a_decision_is_explained_by_the_version_that_made_it_and_no_decision_is_made(aged: Aged) -> None:
    """What imports MLflow for that, and SQLAlchemy with it, was no worker, and is gone."""
    door, decision, by_version_1 = aged
    before = len(door.get("/decisions?limit=500").content["decisions"])

    answer = explanation(door, decision)

    (worker,) = workers_of(door)
    assert "sqlalchemy" not in Path(f"/proc/{worker}/maps").read_text()
    begun = map(servers.command_line, servers.descendants(door.pid))
    assert not [one for one in begun if "api.reviewing.version_process" in one]
    assert len(door.get("/decisions?limit=500").content["decisions"]) == before
    assert answer.status == 200
    assert answer.content == by_version_1
    assert answer.content["decision"]["optimal_threshold"] == 0.25
    assert (answer.headers["X-Model-Version"], answer.headers["Cache-Control"]) == ("1", "no-store")
    assert version_of_ready(door) == "2"


def version_of_ready(door: SocketDoor) -> str:
    return str(door.get("/ready").content["version"])


def test_a_decision_of_the_served_version_is_explained_at_once(
    aged: Aged, client_of_each_label: dict[str, Client]
) -> None:
    door, _, _ = aged
    client = client_of_each_label["risky"]
    decision = door.predict(client).headers["X-Decision-Id"]

    answer = explanation(door, decision)

    assert answer.content == door.send("POST", "/explain", json.dumps(client).encode(), JSON).content
    assert answer.headers["X-Model-Version"] == "2"


def test_an_erased_decision_is_not_explained(
    aged: Aged,
    client_of_each_label: dict[str, Client],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    door, _, _ = aged
    decision = door.predict(client_of_each_label["grey"]).headers["X-Decision-Id"]
    monkeypatch.setenv("JOURNAL_URL", f"sqlite:///{door.log.parent / 'journal.db'}")
    erased(bytes.fromhex(decision.replace("-", "")))

    answer = explanation(door, decision)

    assert answer.status == 410
    assert answer.error.startswith("Les données de cette décision ont été effacées")


def test_a_copy_in_the_cache_that_was_changed_is_brought_again(aged: Aged, of_aged: Registry) -> None:
    door, decision, by_version_1 = aged
    explanation(door, decision)
    for pid in computing_processes(door):  # which hold what they have loaded
        os.kill(pid, signal.SIGKILL)
    policy = of_aged.folder / "cache" / of_aged.bundles["1"].digest / "policy.json"
    before = policy.read_text()
    policy.write_text(before.replace("0.25", "0.75"))

    answer = explanation(door, decision)

    assert (answer.status, answer.content) == (200, by_version_1)
    assert policy.read_text() == before


# ---- The registry does not have the version any more, or not that very one


@contextmanager
def tagged_otherwise(live: Registry) -> Iterator[None]:
    client, tag = connection.connect(), versions.DIGEST_TAG
    client.set_model_version_tag(versions.NAME, "1", tag, "0" * 64)
    yield
    client.set_model_version_tag(versions.NAME, "1", tag, live.bundles["1"].digest)


@contextmanager
def damaged(live: Registry) -> Iterator[None]:
    live.damaged("1", "model.txt")
    yield
    (live.artifact("1") / "model.txt").write_bytes(live.bundles["1"].files["model.txt"])


@contextmanager
def away(live: Registry) -> Iterator[None]:
    file = live.folder / "mlflow.db"
    file.rename(live.folder / "away.db")
    yield
    (live.folder / "away.db").rename(file)


@contextmanager
def deleted(live: Registry) -> Iterator[None]:
    """For good: the last of these."""
    connection.connect().delete_model_version(versions.NAME, "1")
    yield


@pytest.mark.parametrize(
    ("harm", "status", "sentence"),
    [
        pytest.param(damaged, 409, CHANGED),
        (tagged_otherwise, 409, CHANGED),
        pytest.param(
            away,
            503,
            "Le registre ne donne pas la version qui a statué : réessayez plus tard.",
        ),
        (deleted, 404, GONE),
    ],
)
def test_a_version_that_is_not_what_it_was_explains_nothing(
    aged: Aged, of_aged: Registry, harm: Any, status: int, sentence: str
) -> None:
    door, decision, _ = aged
    shutil.rmtree(of_aged.folder / "cache" / of_aged.bundles["1"].digest, ignore_errors=True)

    with harm(of_aged):
        answer = explanation(door, decision)

    assert (answer.status, answer.error) == (status, sentence)


# ---- Roles


def test_a_reviewer_has_explanations_of_the_grey_zone_alone(bank: Bank) -> None:
    grey, risky = bank.decided("grey"), bank.decided("risky")

    answers = {
        (who, label): bank.get(who, f"/decisions/{decision}/explanation").status
        for who in ("scorer", "anna", "carla")
        for label, decision in (("grey", grey), ("risky", risky))
    }

    assert [answers["scorer", one] for one in ("grey", "risky")] == [403, 403]
    assert [answers["anna", one] for one in ("grey", "risky")] == [200, 403]
    assert [answers["carla", one] for one in ("grey", "risky")] == [200, 200]


def test_a_file_that_is_not_served_any_more_explains_nothing(
    documented_pickle: Path, client_of_each_label: dict[str, Client], two_versions: Registry, tmp_path: Path
) -> None:
    with bank_in(tmp_path, documented_pickle, client_of_each_label, has_tokens=False) as bank:
        decision = bank.decided("grey")
    copied_registry(two_versions.folder, tmp_path)
    live = Registry(tmp_path, dict(two_versions.bundles))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", live.environment["MLFLOW_TRACKING_URI"])
        live.point("2")
    with serving(live, JOURNAL_URL=f"sqlite:///{tmp_path / 'journal.db'}") as door:
        answer = explanation(door, decision)

    assert (answer.status, answer.error) == (
        409,
        "Un modèle servi depuis un fichier a statué, et il n’est plus servi : "
        "la décision ne peut pas être expliquée.",
    )
