"""What the API tells of the served version and of the reference clients, and who these may be."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from api.app import create_app
from api.delivery.served import ServedModel
from api.reference import scored
from api.reference.clients import distances
from explain.population import Distribution
from mlflow_model.bundle.bundles import Bundle
from quality import groups
from tests import servers
from tests.conftest import FEATURES, SOMETIMES_MISSING, random_clients, random_outcomes
from tests.servers import JSON, Answer, FlaskDoor

pytest_plugins = ["tests.api_support"]

DRAWN = "drawn by python -m training.reference --clients 400 --seed 3"
THRESHOLD, LOWER, UPPER = 0.25, 0.23, 0.27  # of the documented pickle


def people(count: int = 400) -> pd.DataFrame:
    """Clients; the third one lacks a credit, without which the version does not decide."""
    clients = random_clients(count, seed=3)
    outcomes = random_outcomes(clients, seed=4)
    clients.loc[2, "AMT_CREDIT"] = np.nan
    return clients.assign(TARGET=outcomes)


def written(clients: pd.DataFrame, file: Path, origin: str | None = DRAWN) -> Path:
    metadata = {} if origin is None else {"origin": origin}
    parquet.write_table(pa.Table.from_pandas(clients).replace_schema_metadata(metadata), file)
    return file


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(people(), tmp_path_factory.mktemp("reference") / "drawn.parquet")


@pytest.fixture
def door(bundle: Bundle, drawn: Path, monkeypatch: pytest.MonkeyPatch) -> FlaskDoor:
    """The threshold is 0.25, the margin 0.02."""
    monkeypatch.setenv("REFERENCE", str(drawn))
    return FlaskDoor(create_app(servers.serving(bundle.scorer(), version="7")))


def neighbours(door: servers.Door, client: object) -> Answer:
    return door.send("POST", "/neighbours", json.dumps(client).encode(), JSON)


def decided(door: FlaskDoor, clients: pd.DataFrame) -> list[dict[str, Any]]:
    body = clients[list(FEATURES)].to_json(orient="records", double_precision=15).encode()
    found: list[dict[str, Any]] = door.send("POST", "/predict/batch", body, JSON).content
    return found


def label(probability: float, lower: float = LOWER, upper: float = UPPER) -> str:
    return "reliable" if probability < lower else "risky" if probability > upper else "grey"


# ---- The version


def test_the_version_is_told_with_its_policy_and_its_features(door: FlaskDoor, bundle: Bundle) -> None:
    told = door.get("/model").content

    assert (told["name"], told["version"], told["alias"]) == ("scoring-client", "7", "champion")
    policy = told["policy"]
    assert (policy["optimal_threshold"], policy["margin"]) == (0.25, 0.02)
    assert policy["labels"]["grey"] == "Zone grise (incertain)"
    assert [one["name"] for one in told["features"]] == list(FEATURES)
    assert {one["name"] for one in told["features"] if one["nullable"]} == SOMETIMES_MISSING
    assert (told["features"][1]["label"], told["features"][1]["usual"]) == (
        "Montant du crédit",
        [76_000, 1_800_000],
    )


def test_a_features_weight_is_its_share_of_the_gain_that_lightgbm_itself_tells(
    door: FlaskDoor, bundle: Bundle
) -> None:
    gains = lightgbm.Booster(model_str=bundle.files["model.txt"].decode()).feature_importance("gain")

    told = [one["share_of_gain"] for one in door.get("/model").content["features"]]

    assert told == pytest.approx((gains / gains.sum()).tolist(), rel=1e-4)


@pytest.mark.parametrize("path", ["/model", "/reference", "/reference/clients"])
def test_without_a_model_there_is_nothing_to_tell(path: str) -> None:
    answer = FlaskDoor(create_app(ServedModel())).get(path)

    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert answer.error.startswith("Erreur lors du chargement du modèle : ")


# ---- Totals


def test_the_totals_are_those_of_what_a_batch_decides(door: FlaskDoor) -> None:
    clients = people().drop(index=2)
    probabilities = [one["probability_class_1"] for one in decided(door, clients)]
    outcomes = clients["TARGET"].tolist()
    labels = [label(one) for one in probabilities]

    told = door.get("/reference").content

    assert (told["reference"]["clients"], told["reference"]["left_out"]) == (399, 1)
    assert {name: one["clients"] for name, one in told["labels"].items()} == Counter(labels)
    defaults = Counter(one for one, outcome in zip(labels, outcomes, strict=True) if outcome)
    assert {name: one["defaults"] for name, one in told["labels"].items()} == defaults
    (bin_,) = [one for one in told["histogram"] if one["from"] == 0.2]
    of_bin = [out for p, out in zip(probabilities, outcomes, strict=True) if 0.2 <= p < 0.21]
    assert (bin_["clients"], bin_["defaults"]) == (len(of_bin), sum(of_bin))
    assert sum(one["clients"] for one in told["histogram"]) == 399


def test_a_calibration_bin_says_what_was_predicted_and_what_became_of_a_tenth(door: FlaskDoor) -> None:
    clients = people().drop(index=2)
    pairs = sorted(
        zip((one["probability_class_1"] for one in decided(door, clients)), clients["TARGET"], strict=True)
    )

    first = door.get("/reference").content["calibration"][0]

    lowest = pairs[: first["clients"]]
    assert first["clients"] in (39, 40)
    assert first["predicted"] == pytest.approx(np.mean([p for p, _ in lowest]))
    assert first["observed"] == pytest.approx(np.mean([out for _, out in lowest]))


@pytest.mark.parametrize("threshold", [0.25, 0.4, 0.01])
def test_a_threshold_says_what_it_would_change_and_cost(door: FlaskDoor, threshold: float) -> None:
    """By costs of 5 for a default that is accepted, and of 1 for a repayer who is refused."""
    clients = people().drop(index=2)
    probabilities = [one["probability_class_1"] for one in decided(door, clients)]
    margin = min(0.02, threshold)
    labels = [label(one, threshold - margin, threshold + margin) for one in probabilities]
    now = [label(one) for one in probabilities]
    cost = sum(
        5 * outcome if p <= threshold else 1 - outcome
        for p, outcome in zip(probabilities, clients["TARGET"], strict=True)
    )

    (told,) = [one for one in door.get("/reference").content["thresholds"] if one["threshold"] == threshold]

    assert {name: told[name] for name in ("reliable", "grey", "risky")} == {
        name: labels.count(name) for name in ("reliable", "grey", "risky")
    }
    assert told["changed"] == sum(one != other for one, other in zip(labels, now, strict=True))
    assert told["cost_per_client"] == pytest.approx(cost / 399)


def test_a_version_with_rules_of_its_own_changes_nobody_at_its_own_threshold(
    other_bundle: Bundle, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its grey zone begins two margins below the threshold: from 0.25, and not from 0.375."""
    monkeypatch.setenv("REFERENCE", str(drawn))

    told = FlaskDoor(create_app(servers.serving(other_bundle.scorer()))).get("/reference").content

    assert (told["now"]["lower_bound"], told["now"]["changed"]) == (0.25, 0)
    assert told["now"]["grey"] == told["labels"]["grey"]["clients"] > 0


def test_groups_are_told_in_french(door: FlaskDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clients = people().assign(**{groups.GENDER: np.tile(["F", "M"], 200)})
    monkeypatch.setenv("REFERENCE", str(written(clients, tmp_path / "with_sex.parquet")))

    by_age, by_sex = door.get("/reference").content["fairness"]

    assert [by_age["attribute"], by_sex["attribute"]] == ["Âge", "Sexe"]
    assert [one["name"] for one in by_age["groups"]][:2] == ["Moins de 30 ans", "De 30 à 39 ans"]
    women, men = by_sex["groups"]
    assert (women["name"], women["clients"], men["name"], men["clients"]) == ("Femmes", 199, "Hommes", 200)
    rates = [one["approval_rate"]["value"] for one in by_sex["groups"]]
    assert by_sex["approval_ratio"]["value"] == pytest.approx(min(rates) / max(rates))


def test_without_outcomes_there_are_counts_and_no_costs(
    door: FlaskDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFERENCE", str(written(people().drop(columns="TARGET"), tmp_path / "a.parquet")))

    told = door.get("/reference").content

    assert [told[name] for name in ("figures", "calibration", "fairness")] == [None, None, None]
    assert told["labels"]["risky"]["clients"] > 0
    assert (told["now"]["cost_per_client"], told["labels"]["risky"]["defaults"]) == (None, None)
    assert door.get("/reference/clients?limit=1").content["clients"][0]["defaulted"] is None


def test_of_a_feature_each_client_is_in_one_bin_or_unknown(door: FlaskDoor) -> None:
    (told,) = [one for one in door.get("/reference").content["features"] if one["name"] == "EXT_SOURCE_1"]

    known = people().drop(index=2)["EXT_SOURCE_1"].notna().sum()
    assert len(told["edges"]) == 21
    assert sum(map(sum, told["clients"].values())) == known
    assert sum(told["unknown"].values()) == 399 - known


def test_of_very_many_clients_some_are_scored_evenly_spaced(
    door: FlaskDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scored, "MOST_CLIENTS", 100)

    told = door.get("/reference/clients?limit=3").content

    assert [one["number"] for one in told["clients"]] == [1, 6, 10]  # number 3 is left out
    assert door.get("/reference").content["reference"]["clients"] == 100


# ---- Single clients


def test_pages_show_every_client_once_as_he_is_decided_on(door: FlaskDoor) -> None:
    found: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = door.get(f"/reference/clients?after={after}&limit=150").content
        found += page["clients"]
        after = page["next"]

    assert [one["number"] for one in found] == [*range(1, 3), *range(4, 401)]
    last = found[-1]
    assert last["probability_class_1"] == door.predict(last["features"]).content["probability_class_1"]
    assert last["label"] == label(last["probability_class_1"])
    assert last["defaulted"] == bool(people()["TARGET"].iloc[-1])


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("after=x", "after doit être le numéro d’un client"),
        ("after=-1", "after doit être le numéro d’un client"),
        ("limit=0", "limit doit être un nombre entier de 1 à 500"),
        ("limit=501", "limit doit être un nombre entier de 1 à 500"),
        ("limit=1&limit=2", "les paramètres sont after et limit, chacun une fois"),
        ("page=2", "les paramètres sont after et limit, chacun une fois"),
    ],
)
def test_a_page_that_there_cannot_be_is_refused(door: FlaskDoor, query: str, sentence: str) -> None:
    answer = door.get(f"/reference/clients?{query}")

    assert (answer.status, answer.error) == (400, f"Page de clients refusée : {sentence}")


def test_the_nearest_client_is_the_client_himself(door: FlaskDoor) -> None:
    client = door.get("/reference/clients?after=41&limit=1").content["clients"][0]

    found = neighbours(door, client["features"]).content["neighbours"]

    assert (found[0]["number"], found[0]["distance"]) == (42, 0.0)
    far = [one["distance"] for one in found]
    assert len(found) == 50
    assert far == sorted(far)
    assert 0.0 < far[1] <= far[-1] < 1.0


def test_neighbours_are_refused_as_a_decision_is(door: FlaskDoor, documented_request: dict[str, Any]) -> None:
    for client in (
        {},
        documented_request | {"AMT_CREDIT": "much"},
        documented_request | {"AMT_CREDIT": None},
    ):
        answer, refused = neighbours(door, client), door.predict(client)

        assert (answer.status, answer.error) == (400, refused.error)


EVEN = Distribution(0.0, [float(percent) for percent in range(101)])  # a value of 30 has the rank 0.3
SHARED = Distribution(0.0, [0.0] * 51 + [1.0] * 50)  # 0 has the middle of 0 to 0.5, 1 that of 0.51 to 1


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        ([30.0, 0.0], [30.0, 0.0], 0.0),
        ([30.0, 0.0], [50.5, 0.0], 0.205 / 2),
        ([30.0, 0.0], [30.0, 1.0], (0.755 - 0.25) / 2),
        ([np.nan, 0.0], [np.nan, 0.0], 0.0),
        ([np.nan, 0.0], [30.0, 0.0], 1 / 2),
        ([30.0, 0.0], [np.nan, 0.0], 1 / 2),
        ([-1e9, 0.0], [1e9, 0.0], 1 / 2),
        ([30.0, -1.0], [30.0, 2.0], 1 / 2),
    ],
)
def test_a_distance_is_the_mean_difference_of_ranks(
    one: Sequence[float], other: Sequence[float], distance: float
) -> None:
    found = distances(np.array(one), np.array([other]), [EVEN, SHARED])

    assert found.tolist() == pytest.approx([distance])


# ---- Whose clients these are


@pytest.mark.parametrize(
    "origin", [None, "made of raw tables by python -m training.reference --data-dir DIR"]
)
def test_of_clients_who_may_exist_there_are_totals_alone(
    door: FlaskDoor,
    documented_request: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    origin: str | None,
) -> None:
    monkeypatch.setenv("REFERENCE", str(written(people(1_100), tmp_path / "real.parquet", origin)))

    for answer in (door.get("/reference/clients"), neighbours(door, documented_request)):
        assert answer.status == 404
        assert answer.error.startswith("Les clients du portefeuille de référence peuvent être réels : ")
    told = door.get("/reference").content["reference"]
    assert (told["clients"], told["is_drawn"]) == (1_099, False)


def test_of_few_clients_who_may_exist_there_are_no_totals(
    door: FlaskDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFERENCE", str(written(people(1_000), tmp_path / "real.parquet", None)))

    answer = door.get("/reference")

    assert answer.status == 404
    assert answer.error.startswith(
        "Le portefeuille de référence a moins de 1000 clients, qui peuvent être réels"
    )


def test_a_column_as_wide_as_doubles_makes_a_reference_unusable(
    door: FlaskDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clients = people()
    clients.loc[3:4, "AMT_CREDIT"] = [1.7e308, -1.7e308]
    monkeypatch.setenv("REFERENCE", str(written(clients, tmp_path / "wide.parquet")))

    answers = [door.get("/reference") for _ in range(3)]

    assert [(one.status, one.error) for one in answers] == [(500, UNUSABLE)] * 3
    assert caplog.text.count("the numbers in AMT_CREDIT are too far apart for a double") == 1


def test_without_a_reference_the_version_is_told_all_the_same(
    door: FlaskDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFERENCE", str(tmp_path / "nowhere.parquet"))

    answer = door.get("/reference")

    assert (answer.status, door.get("/model").status) == (404, 200)
    assert answer.error == (
        "Ce service n’a pas de portefeuille de référence : son exploitant peut en nommer un (REFERENCE)."
    )


def test_a_reference_without_a_feature_of_the_version_is_named_so(
    door: FlaskDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFERENCE", str(written(people().drop(columns="AMT_CREDIT"), tmp_path / "a.parquet")))

    answer = door.get("/reference")

    assert (answer.status, answer.error) == (
        404,
        "Le portefeuille de référence n’a pas ces variables de la version servie : ['AMT_CREDIT']",
    )


UNUSABLE = (
    "Le portefeuille de référence ne peut pas servir : son exploitant en trouve la raison dans les traces du "
    "service."
)


def test_a_reference_that_cannot_be_read_is_no_fault_of_the_caller(
    door: FlaskDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "broken.parquet"
    file.write_bytes(b"PAR1 and no more")
    monkeypatch.setenv("REFERENCE", str(file))

    answer = door.get("/reference")

    assert (answer.status, answer.error) == (500, UNUSABLE)
    assert "broken.parquet cannot be read as a portfolio in Parquet" in caplog.text


def test_another_file_under_the_same_name_is_read_at_once(
    door: FlaskDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(people(), tmp_path / "reference.parquet")
    monkeypatch.setenv("REFERENCE", str(file))
    before = door.get("/reference").content["reference"]["clients"]

    written(people().head(100), tmp_path / "new.parquet").replace(file)

    assert (before, door.get("/reference").content["reference"]["clients"]) == (399, 99)
