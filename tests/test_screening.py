"""The warnings of POST /explain are counted for the decisions of /predict, and no answer waits for that."""

import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from api.app import create_app
from api.counting import tally as tallies
from api.counting.tally import TOGETHER
from api.deciding import many_clients
from explain import screening
from mlflow_model.bundle import bundles
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import Scorer
from mlflow_model.handover import model_files
from tests import servers
from tests.explain_support import SHIPPED, reference_clients
from tests.live import metrics, policy_of, workers_of
from tests.servers import JSON, ROOT, Answer, Door, FlaskDoor

SCREENED, UNSCREENED = "scoring_decisions_screened_total", "scoring_decisions_unscreened_total"
BEFORE_THE_ROOMS = ROOT / "tests" / "versions" / "before_the_rooms"
Client = dict[str, Any]
Warnings = dict[tuple[str, str], float]


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return model_files.convert(SHIPPED)[0]


@pytest.fixture
def door(shipped: Bundle) -> FlaskDoor:
    return door_of(shipped.scorer())


@pytest.fixture
def consistent(documented_request: Client) -> Client:
    """The documented client with the ratios that belong to the amounts and the age."""
    return documented_request | {
        "CREDIT_TERM": 13.3333,  # 200,000 / 15,000
        "ANNUITY_BIRTH_RATIO": 456.25,  # 15,000 / (12,000 / 365)
        "CREDIT_GOODS_RATIO": 1.1111,  # 200,000 / 180,000
    }


def door_of(scorer: Scorer) -> FlaskDoor:
    return FlaskDoor(create_app(servers.serving(scorer)))


def warnings(door: Door) -> Warnings:
    """Those that are counted, by code and feature."""
    counted = {name: count for name, count in metrics(door).items() if name.startswith("scoring_warnings_")}
    return {(name.split('"')[1], name.split('"')[3]): count for name, count in counted.items()}


def outcomes(door: Door) -> tuple[float, float]:
    """How many decisions were screened, and how many were not."""
    found = metrics(door)
    return found[SCREENED], found[UNSCREENED]


def batch(door: Door, clients: list[Client]) -> Answer:
    return door.send("POST", "/predict/batch", json.dumps(clients).encode(), JSON)


def screened_in(file: Path) -> int:
    content = json.loads(file.read_bytes() or b"{}")
    return sum(count for (outcome,), count in content.get("screenings", ()) if outcome == "screened")


def test_a_client_who_is_like_the_others_counts_no_warning(door: FlaskDoor, consistent: Client) -> None:
    door.predict(consistent)

    assert warnings(door) == {}
    assert outcomes(door) == (1, 0)


def test_the_documented_client_contradicts_itself(door: FlaskDoor, documented_request: Client) -> None:
    for _ in range(3):
        door.predict(documented_request)

    assert warnings(door) == {
        ("broken_identity", "CREDIT_TERM"): 3,
        ("broken_identity", "ANNUITY_BIRTH_RATIO"): 3,
        ("broken_identity", "CREDIT_GOODS_RATIO"): 3,
        ("out_of_range", "CREDIT_TERM"): 3,
        ("out_of_range", "ANNUITY_BIRTH_RATIO"): 3,
    }


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"EXT_SOURCE_2": 57}, {("out_of_range", "EXT_SOURCE_2"): 1}),
        ({"EXT_SOURCE_2": None}, {("rare_null", "EXT_SOURCE_2"): 1}),
        (
            {"DAYS_BIRTH": -35},
            {("out_of_range", "DAYS_BIRTH"): 1, ("broken_identity", "ANNUITY_BIRTH_RATIO"): 1},
        ),
        (
            {"AMT_CREDIT": -200_000},
            {
                ("out_of_range", "AMT_CREDIT"): 1,
                ("broken_identity", "CREDIT_TERM"): 1,
                ("broken_identity", "CREDIT_GOODS_RATIO"): 1,
            },
        ),
    ],
    ids=["a score of 57", "a null where nulls are rare", "an age of 35 days", "a negative credit"],
)
def test_values_that_the_training_has_not_seen_are_counted(
    door: FlaskDoor, consistent: Client, wrong: Client, expected: Warnings
) -> None:
    door.predict(consistent | wrong)

    assert warnings(door) == expected


def test_a_probability_near_a_bound_is_counted_without_a_feature(shipped: Bundle, consistent: Client) -> None:
    probability = door_of(shipped.scorer()).predict(consistent).content["probability_class_1"]
    door = door_of(servers.with_policy(shipped, probability + 0.004, 0.0))

    door.predict(consistent)

    assert warnings(door) == {("near_a_bound", ""): 1}


@pytest.mark.parametrize("is_batch", [False, True], ids=["/predict", "/predict/batch"])
def test_as_many_warnings_are_counted_as_explanations_show(shipped: Bundle, is_batch: bool) -> None:
    scorer = shipped.scorer()
    clients = [
        {**client, "CREDIT_TERM": 60} if place % 3 else client
        for place, client in enumerate(reference_clients(scorer, 300))
    ]
    door, explaining = door_of(scorer), door_of(scorer)
    shown: Counter[tuple[str, str]] = Counter()
    for client in clients:
        answer = explaining.send("POST", "/explain", json.dumps(client).encode(), JSON)
        shown.update((one["code"], one["feature"] or "") for one in answer.content["warnings"])

    if is_batch:
        batch(door, clients)
    else:
        for client in clients:
            door.predict(client)

    assert warnings(door) == shown
    assert outcomes(door) == (300, 0)
    assert {code for code, _ in shown} >= {"out_of_range", "broken_identity", "near_a_bound"}


def test_no_answer_waits_for_the_screening(
    door: FlaskDoor, documented_request: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    screened: list[int] = []
    monkeypatch.setattr(screening, "of_clients", lambda _, clients, __: screened.append(len(clients)))
    for _ in range(TOGETHER + 1):
        door.predict(documented_request)
    before = list(screened)

    door.get("/metrics")

    assert (before, screened) == ([], [TOGETHER + 1])


def test_beyond_the_bound_a_decision_counts_as_not_screened(
    door: FlaskDoor, documented_request: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tallies, "MOST_WAITING", 3)
    for _ in range(TOGETHER + 10):
        door.predict(documented_request)
    once = outcomes(door)
    door.predict(documented_request)

    assert once == (3, TOGETHER + 7)
    assert outcomes(door) == (4, TOGETHER + 7)
    assert warnings(door)["broken_identity", "CREDIT_TERM"] == 4


def test_threads_that_answer_while_others_screen_lose_no_client(
    door: FlaskDoor, documented_request: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tallies, "MOST_WAITING", 40)
    monkeypatch.setattr(tallies, "TOGETHER", 16)

    def ask() -> None:
        for number in range(200):
            door.predict(documented_request)
            if number % 50 == 0:
                door.get("/metrics")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    screened, unscreened = outcomes(door)

    assert screened + unscreened == 800
    assert warnings(door)["broken_identity", "CREDIT_TERM"] == screened > 0


TAKES_TEXT = b"""
decide = Scorer.decide
Scorer.decide = lambda scorer, client: decide(scorer, {**client, "AMT_CREDIT": 200000.0})
"""


def test_a_version_whose_clients_cannot_be_screened_answers_all_the_same(
    bundle: Bundle, documented_request: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Its own code takes a text where others take a number."""
    door = door_of(policy_of(bundle, 0.25, more_code=TAKES_TEXT).scorer())
    answers = [door.predict(documented_request | {"AMT_CREDIT": "secret"}).status]
    door.get("/metrics")
    answers.append(door.predict(documented_request | {"AMT_CREDIT": "secret"}).status)

    assert outcomes(door) == (0, 2)
    assert warnings(door) == {}
    assert answers == [200, 200]
    assert caplog.text.count("clients cannot be screened for warnings: ValueError") == 1
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    "population",
    [None, [], {"AMT_CREDIT": 3}, {"AMT_CREDIT": {"missing": "no", "quantiles": [1.0] * 101}}, {"X": {}}],
    ids=["none", "a list", "a number", "a text", "another feature"],
)
def test_an_odd_population_leaves_identities_and_bounds(
    bundle: Bundle, documented_request: Client, population: object
) -> None:
    files = {**bundle.files, "population.json": json.dumps(population).encode()}
    door = door_of(Scorer(files))

    door.predict(documented_request)

    assert {code for code, _ in warnings(door)} == {"broken_identity"}
    assert outcomes(door) == (1, 0)


def test_a_version_of_format_1_has_identities_and_bounds_alone() -> None:
    folder = BEFORE_THE_ROOMS / "artifacts" / "bundle"
    scorer = bundles.verified({file.name: file.read_bytes() for file in folder.iterdir()}).scorer()
    client = json.loads(BEFORE_THE_ROOMS.with_suffix(".json").read_text(encoding="utf-8"))["client"]
    door = door_of(scorer)

    door.predict(client | {"DAYS_BIRTH": -35})

    assert {code for code, _ in warnings(door)} == {"broken_identity"}
    assert outcomes(door) == (1, 0)


@pytest.mark.slow
def test_a_worker_screens_though_nobody_reads_metrics_and_adds_what_its_batch_process_did(
    documented_pickle: Path, documented_request: Client, tmp_path: Path
) -> None:
    large = 2 * many_clients.SMALL // len(json.dumps(documented_request))
    with servers.api(servers.alone(documented_pickle, tmp_path), tmp_path / "log") as door:
        servers.ready(door)
        for _ in range(2):
            door.predict(documented_request)
        batch(door, [documented_request] * large)
        (worker,) = workers_of(door)
        folder = Path(servers.command_line(worker).rstrip("\0").rpartition("\0")[2])
        (its,) = folder.glob(f"{worker}-*.json")
        servers.eventually(lambda: screened_in(its) == large + 2 or None, "the screening in its file")
        counted = warnings(door)

    assert counted["broken_identity", "CREDIT_TERM"] == large + 2
