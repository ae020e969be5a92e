"""The same clients are decided alike wherever they come in, and each version by its own policy and rules."""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier

from api.app import create_app
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.registry import connection
from tests import servers
from tests.conftest import random_clients
from tests.servers import JSON, Answer, Door, FlaskDoor, SocketDoor

pytest_plugins = ["tests.api_support"]

CHAMPION, CHALLENGER = "models:/scoring-client@champion", "models:/scoring-client@challenger"

Decisions = list[dict[str, Any]]
Decide = Callable[[pd.DataFrame], Decisions]


class Running:
    """Both versions, at the API and at `mlflow models serve`: a process is started when it is asked for."""

    def __init__(self, registry: Mapping[str, str], logs: Path, stack: ExitStack) -> None:
        self._registry, self._logs, self._stack = registry, logs, stack
        self._api: dict[str, SocketDoor] = {}
        self._invocations: dict[str, SocketDoor] = {}

    def api(self, uri: str) -> SocketDoor:
        if uri not in self._api:
            log = self._logs / f"api{len(self._api)}"
            self._api[uri] = self._stack.enter_context(servers.api({**self._registry, "MODEL_URI": uri}, log))
            servers.ready(self._api[uri])
        return self._api[uri]

    def invocations(self, uri: str) -> SocketDoor:
        if uri not in self._invocations:
            log = self._logs / f"mlflow{len(self._invocations)}"
            self._invocations[uri] = self._stack.enter_context(servers.invocations(uri, self._registry, log))
            servers.ready(self._invocations[uri], "/ping")
        return self._invocations[uri]


@pytest.fixture(scope="module")
def running(several_versions: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with ExitStack() as stack:
        yield Running(servers.registry_in(several_versions), tmp_path_factory.mktemp("doors"), stack)


@pytest.fixture(scope="module")
def pyfuncs(several_versions: Path) -> dict[str, Any]:
    """Both versions loaded by MLflow into this one process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", servers.registry_in(several_versions)["MLFLOW_TRACKING_URI"])
        connection.connect()
        return {uri: mlflow.pyfunc.load_model(uri) for uri in (CHAMPION, CHALLENGER)}


@pytest.fixture(params=["flask", "socket", pytest.param("invocations", marks=pytest.mark.slow), "pyfunc"])
def decide_as(
    request: pytest.FixtureRequest,
    running: Running,
    pyfuncs: dict[str, Any],
    bundle: Bundle,
    other_bundle: Bundle,
) -> Callable[[str], Decide]:
    """How a version decides on clients at one of the four doors."""
    bundles = {CHAMPION: bundle, CHALLENGER: other_bundle}
    doors: dict[str, Callable[[str], Decide]] = {
        "flask": lambda uri: at_predict(FlaskDoor(create_app(servers.serving(bundles[uri].scorer())))),
        "socket": lambda uri: at_predict(running.api(uri)),
        "invocations": lambda uri: (
            lambda clients: invoke(running.invocations(uri), clients).content["predictions"]
        ),
        "pyfunc": lambda uri: lambda clients: pyfuncs[uri].predict(clients).to_dict("records"),
    }
    return doors[request.param]


def at_predict(door: Door) -> Decide:
    return lambda clients: [door.predict(client).content for client in with_nulls(clients)]


def invoke(
    door: Door, clients: pd.DataFrame, params: Mapping[str, object] | None = None, **values: object
) -> Answer:
    """The clients at /invocations, each with these values instead of its own."""
    rows = [list((client | values).values()) for client in with_nulls(clients)]
    payload = {"dataframe_split": {"columns": list(clients.columns), "data": rows}, "params": params or {}}
    return door.send("POST", "/invocations", json.dumps(payload).encode(), JSON)


def everything_said(answer: Answer) -> str:
    """MLflow puts what a model raises at the end of a stack trace."""
    return " ".join(map(str, answer.content.values()))


def with_nulls(clients: pd.DataFrame) -> Decisions:
    """One dictionary a client, None where a value is missing."""
    return [
        {str(name): None if math.isnan(value) else value for name, value in client.items()}
        for client in clients.to_dict("records")
    ]


@pytest.fixture(scope="module")
def clients() -> pd.DataFrame:
    """300 clients, values with all their digits, a third of some features missing."""
    return random_clients(300, seed=300)


@pytest.fixture
def client(documented_request: dict[str, float]) -> pd.DataFrame:
    return pd.DataFrame([documented_request], dtype=float)


def decisions(
    trained: LGBMClassifier,
    clients: pd.DataFrame,
    threshold: float,
    margin: float,
    lower: float,
    upper: float,
) -> Decisions:
    """LightGBM's own probabilities, labelled on paper."""
    columns = {"optimal_threshold": threshold, "margin": margin, "lower_bound": lower, "upper_bound": upper}
    probabilities = np.asarray(trained.booster_.predict(clients.to_numpy())).tolist()
    labels = [
        "Classe_0 (fiable)" if p < lower else "Classe_1 (risqué)" if p > upper else "Zone grise (incertain)"
        for p in probabilities
    ]
    return [
        {"prediction": label, "probability_class_1": p, "probability_class_0": 1.0 - p, **columns}
        for label, p in zip(labels, probabilities, strict=True)
    ]


def test_300_clients_have_nulls_and_every_label(trained: LGBMClassifier, clients: pd.DataFrame) -> None:
    expected = decisions(trained, clients, 0.25, 0.02, 0.23, 0.27)

    assert clients.isna().to_numpy().sum() > 300
    assert len({decision["prediction"] for decision in expected}) == 3


def test_300_clients_are_decided_alike_at_every_door_to_the_last_bit(
    decide_as: Callable[[str], Decide], trained: LGBMClassifier, clients: pd.DataFrame
) -> None:
    answered = decide_as(CHAMPION)(clients)

    assert answered == decisions(trained, clients, 0.25, 0.02, 0.23, 0.27)


# The second `mlflow models serve`, which takes ten seconds to start, is for `make proofs`.
OF_TWO_VERSIONS = pytest.mark.parametrize(
    "decide_as",
    ["flask", "socket", pytest.param("invocations", marks=pytest.mark.slow), "pyfunc"],
    indirect=True,
)


@OF_TWO_VERSIONS
def test_another_version_decides_by_its_own_policy_and_rules_at_every_door(
    decide_as: Callable[[str], Decide], trained: LGBMClassifier, clients: pd.DataFrame
) -> None:
    answered = decide_as(CHALLENGER)(clients)

    # Its rule keeps twice the margin below the threshold.
    usual = decisions(trained, clients, 0.5, 0.125, 0.25, 0.625)
    assert answered == [one | {"distance": one["probability_class_1"] - 0.5} for one in usual]


@OF_TWO_VERSIONS
def test_a_version_s_own_columns_come_in_its_own_order_at_every_door(
    decide_as: Callable[[str], Decide], client: pd.DataFrame
) -> None:
    (decision,) = decide_as(CHAMPION)(client)
    (by_its_own_code,) = decide_as(CHALLENGER)(client)

    assert list(by_its_own_code) == ["prediction", "distance", *list(decision)[1:]]
    assert list(decision) == [
        "prediction",
        "probability_class_1",
        "probability_class_0",
        "optimal_threshold",
        "margin",
        "lower_bound",
        "upper_bound",
    ]


def test_ready_says_which_version_serves_and_by_which_policy(running: Running, bundle: Bundle) -> None:
    content = running.api(CHAMPION).get("/ready").content

    assert content == {
        "status": "ready",
        "name": "scoring-client",
        "version": "1",
        "alias": "champion",
        "digest": bundle.digest,
        "confirmed": True,
        "doubt": None,
        "journal": "off",
        "policy": {
            "optimal_threshold": 0.25,
            "margin": 0.02,
            "lower_bound": 0.23,
            "upper_bound": 0.27,
        },
    }


# ---- The margin of one call


@pytest.mark.slow
def test_a_margin_for_one_call_is_only_for_that_call_at_invocations(
    running: Running, client: pd.DataFrame
) -> None:
    door = running.invocations(CHAMPION)

    answers = [invoke(door, client, params) for params in ({"margin": 0.05}, {}, {"margin": None})]

    bounds = [
        (a.content["predictions"][0]["lower_bound"], a.content["predictions"][0]["upper_bound"])
        for a in answers
    ]
    assert bounds == [(0.2, 0.3), (0.23, 0.27), (0.23, 0.27)]


def test_a_margin_for_one_call_is_only_for_that_call_in_process(
    pyfuncs: dict[str, Any], client: pd.DataFrame
) -> None:
    model = pyfuncs[CHAMPION]

    answers = [model.predict(client, params=params) for params in ({"margin": 0.05}, {}, {"margin": None})]

    bounds = [(answer["lower_bound"].item(), answer["upper_bound"].item()) for answer in answers]
    assert bounds == [(0.2, 0.3), (0.23, 0.27), (0.23, 0.27)]


@pytest.mark.slow
@pytest.mark.parametrize("margin", [-1, -1e-9, 0.2500001, 0.9, 1e300])
def test_a_bad_margin_is_refused_at_invocations(
    running: Running, client: pd.DataFrame, margin: float
) -> None:
    answer = invoke(running.invocations(CHAMPION), client, {"margin": margin})

    assert answer.status == 400
    assert "la marge doit être un nombre compris entre 0 et min(seuil, 1 - seuil)" in everything_said(answer)


@pytest.mark.parametrize("margin", [-1, -1e-9, 0.2500001, 0.9, math.inf, math.nan])
def test_a_bad_margin_is_refused_in_process(
    pyfuncs: dict[str, Any], client: pd.DataFrame, margin: float
) -> None:
    with pytest.raises(ValueError, match="la marge doit être un nombre compris entre 0 et min"):
        pyfuncs[CHAMPION].predict(client, params={"margin": margin})


# ---- Refused everywhere


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param(None, "la feature 'AMT_CREDIT' ne peut pas être null", id="null that was never learnt"),
        pytest.param(math.inf, "la feature 'AMT_CREDIT' doit être un nombre fini", id="infinite"),
        pytest.param("DUPONT", "AMT_CREDIT", id="text"),
        pytest.param([1.0], "AMT_CREDIT", id="list"),
    ],
)
def test_what_predict_refuses_is_refused_at_invocations_for_the_whole_table(
    running: Running, client: pd.DataFrame, value: object, reason: str
) -> None:
    two = pd.concat([client, client], ignore_index=True)

    answer = invoke(running.invocations(CHAMPION), two, AMT_CREDIT=value)

    assert answer.status == 400
    assert reason in everything_said(answer)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param(
            math.nan, "la feature 'AMT_CREDIT' ne peut pas être null", id="null that was never learnt"
        ),
        pytest.param(math.inf, "la feature 'AMT_CREDIT' doit être un nombre fini", id="infinite"),
        pytest.param("DUPONT", "AMT_CREDIT", id="text"),
        pytest.param("0.5", "AMT_CREDIT", id="number as text"),
        pytest.param(True, "AMT_CREDIT", id="boolean"),
    ],
)
def test_what_predict_refuses_is_refused_in_process(
    pyfuncs: dict[str, Any], client: pd.DataFrame, value: Any, reason: str
) -> None:
    with pytest.raises(Exception, match=reason):
        pyfuncs[CHAMPION].predict(client.assign(AMT_CREDIT=[value]))


@pytest.mark.slow
def test_an_absent_feature_is_refused_in_the_same_words_by_mlflow(
    running: Running, pyfuncs: dict[str, Any], client: pd.DataFrame
) -> None:
    without = client.drop(columns="AMT_CREDIT")

    answer = invoke(running.invocations(CHAMPION), without)

    sentence = "Features manquantes : ['AMT_CREDIT']"
    assert answer.status == 400
    assert sentence in everything_said(answer)
    with pytest.raises(Exception, match=re.escape(sentence)):
        pyfuncs[CHAMPION].predict(without)


@pytest.mark.slow
@pytest.mark.parametrize("content_type", ["text/csv", "text/csv; charset=utf-8"])
def test_a_csv_is_decided_on_by_mlflow(
    running: Running, pyfuncs: dict[str, Any], clients: pd.DataFrame, content_type: str
) -> None:
    """With columns of integers, and numbers of so few digits that pandas reads them right."""
    some = clients.head(20).round(2).assign(AMT_CREDIT=200_000)

    answer = running.invocations(CHAMPION).send(
        "POST", "/invocations", some.to_csv(index=False).encode(), {"Content-Type": content_type}
    )

    assert answer.status == 200
    assert answer.content["predictions"] == pyfuncs[CHAMPION].predict(some).to_dict("records")
