"""GET /model/history: what the registry says of the served version, and what if it says nothing."""

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Run, RunData, RunInfo

from api.app import create_app
from api.reference import history
from mlflow_model import processes
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.registry import examinations
from promotion import promoting
from tests import servers
from tests.live import Registry
from tests.promotion_support import examined, run_of
from tests.servers import FlaskDoor

pytest_plugins = ["tests.live_support"]


@pytest.fixture
def door(live: Registry) -> FlaskDoor:
    """Version 2 is served."""
    return FlaskDoor(create_app(servers.serving(live.bundles["2"].scorer(), version="2")))


def test_the_card_the_champions_and_the_last_examination_are_told(door: FlaskDoor, live: Registry) -> None:
    promoting.promote(examined(2), why="des coûts revus", by="anna")

    told = door.get("/model/history").content

    assert told["card"] == "# Card\n"
    first, second = told["champions"]
    assert (first["version"], first["how"], first["until"]) == ("1", "registration", second["since"])
    assert (second["version"], second["how"], second["why"], second["until"]) == (
        "2",
        "promotion",
        "des coûts revus",
        None,
    )
    assert "anna" not in str(told)
    run, examination = run_of(2), told["examination"]
    assert (examination["compared_with"], examination["outcome"]) == ("1", "forced")
    assert examination["objections"] == run.tags["objections"]
    assert examination["differences"] == run.metrics
    assert (
        examination["run"] == MlflowClient().get_model_version("scoring-client", "2").tags["examination.run"]
    )


@pytest.mark.slow
def test_a_version_without_an_examination_has_a_history_all_the_same(door: FlaskDoor) -> None:
    told = door.get("/model/history").content

    assert [one["version"] for one in told["champions"]] == ["1"]
    assert told["examination"] is None


def test_a_model_from_a_file_has_no_history(bundle: Bundle) -> None:
    answer = FlaskDoor(create_app(servers.serving(bundle.scorer()))).get("/model/history")

    assert (answer.status, answer.content) == (200, {"card": None, "champions": [], "examination": None})


OUT_OF_REACH = "Le registre ne dit rien de la version servie : réessayez plus tard."


@pytest.mark.slow
def test_what_the_registry_said_is_kept_for_a_minute_while_it_is_away(
    door: FlaskDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = door.get("/model/history")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/nowhere/mlflow.db")

    within = door.get("/model/history")
    monkeypatch.setattr(history, "KEPT_SECONDS", 0.0)
    after = door.get("/model/history")

    assert (before.status, within.content) == (200, before.content)
    assert (after.status, after.error, after.headers["Retry-After"]) == (503, OUT_OF_REACH, "1")


@pytest.mark.slow
def test_that_the_registry_is_away_is_remembered_for_some_seconds(
    door: FlaskDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as away:
        away.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/nowhere/mlflow.db")
        first = door.get("/model/history")

    within = [door.get("/model/history") for _ in range(2)]
    monkeypatch.setattr(history, "REFUSAL_KEPT_SECONDS", 0.0)

    assert [(one.status, one.error) for one in (first, *within)] == [(503, OUT_OF_REACH)] * 3
    assert door.get("/model/history").status == 200


def test_who_waits_for_the_registry_is_answered_when_the_worker_ends(
    door: FlaskDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.reference.history._PROCESS", "http.server")  # it asks nothing, and does not end
    with ThreadPoolExecutor(1) as beside:
        waiting = beside.submit(door.get, "/model/history")
        servers.eventually(lambda: [*processes._asked] or None, "the question")
        processes.end_asked()
        answer = waiting.result(10)

    assert answer.status == 503


def test_figures_that_are_no_numbers_are_left_out() -> None:
    figures = {"auc": 0.7, "ks": math.nan, "cost": math.inf}
    metrics = [Metric(name, value, timestamp=0, step=0) for name, value in figures.items()]
    info = RunInfo("r", "0", "somebody", "FINISHED", 0, 1, "active")
    run = Run(info, RunData(metrics=metrics))

    assert examinations._examined(run).differences == {"auc": 0.7}


def test_a_registry_that_takes_too_long_is_given_up(door: FlaskDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "SECONDS", 0.01)

    answer = door.get("/model/history")

    assert answer.status == 503
    assert answer.error == "La réponse n’a pas été calculée en 0 s : réessayez plus tard."
