"""POST /predict by docs/api.md, sentence by sentence, at Flask's own client and at a real socket."""

import gzip
import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from lightgbm import LGBMClassifier

from api.app import create_app
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import Refusal
from tests import servers
from tests.conftest import FEATURES, SOMETIMES_MISSING
from tests.servers import JSON, Door, FlaskDoor

pytest_plugins = ["tests.api_support"]


BAD_DATA = "Erreur lors du traitement des données : "
KEYS = [
    "prediction",
    "probability_class_1",
    "probability_class_0",
    "optimal_threshold",
    "margin",
    "lower_bound",
    "upper_bound",
]


def default_probability(trained: LGBMClassifier, client: Mapping[str, float | None]) -> float:
    """LightGBM's own answer, by its python package."""
    row = [math.nan if client[name] is None else client[name] for name in FEATURES]
    return float(np.asarray(trained.booster_.predict(np.array([row], dtype=float)))[0])


# ---- 200


def test_the_documented_request_gets_the_seven_keys_in_order(
    door: Door, documented_request: dict[str, float]
) -> None:
    answer = door.predict(documented_request)

    assert answer.status == 200
    assert list(answer.content) == KEYS


def test_the_decision_is_the_boosters_own_double_and_the_policys_bounds(
    door: Door, documented_request: dict[str, float], trained: LGBMClassifier
) -> None:
    probability = default_probability(trained, documented_request)

    decision = door.predict(documented_request).content

    assert decision == {
        "prediction": "Classe_1 (risqué)",
        "probability_class_1": probability,
        "probability_class_0": 1.0 - probability,
        "optimal_threshold": 0.25,
        "margin": 0.02,
        "lower_bound": 0.23,
        "upper_bound": 0.27,
    }


def test_doubles_are_written_so_that_they_read_back_the_same(
    door: Door, documented_request: dict[str, float], trained: LGBMClassifier
) -> None:
    probability = default_probability(trained, documented_request)

    body = door.predict(documented_request).body

    assert f'"probability_class_1": {probability!r}, '.encode() in body


@pytest.mark.parametrize("name", sorted(SOMETIMES_MISSING))
def test_null_is_a_missing_value_where_the_model_has_learnt_it(
    door: Door, documented_request: dict[str, float], trained: LGBMClassifier, name: str
) -> None:
    client = documented_request | {name: None}

    answer = door.predict(client)

    assert answer.status == 200
    assert answer.content["probability_class_1"] == default_probability(trained, client)


# Differences and sums of these thresholds and margins are exact: the bound is the very double meant.
@pytest.mark.parametrize(
    ("threshold_and_margin", "label"),
    [
        pytest.param(lambda p: (p, 0.0), "Zone grise (incertain)", id="on the threshold"),
        pytest.param(lambda p: (math.nextafter(p, 1), 0.0), "Classe_0 (fiable)", id="one double below"),
        pytest.param(lambda p: (math.nextafter(p, 0), 0.0), "Classe_1 (risqué)", id="one double above"),
        pytest.param(lambda p: (0.75, 0.75 - p), "Zone grise (incertain)", id="on the lower bound"),
        pytest.param(
            lambda p: (0.75, 0.75 - math.nextafter(p, 1)), "Classe_0 (fiable)", id="below the lower bound"
        ),
        pytest.param(lambda p: (0.5, p - 0.5), "Zone grise (incertain)", id="on the upper bound"),
        pytest.param(
            lambda p: (0.5, math.nextafter(p, 0) - 0.5), "Classe_1 (risqué)", id="above the upper bound"
        ),
    ],
)
def test_both_bounds_belong_to_the_grey_zone(
    bundle: Bundle,
    trained: LGBMClassifier,
    documented_request: dict[str, float],
    threshold_and_margin: Callable[[float], tuple[float, float]],
    label: str,
) -> None:
    policy = threshold_and_margin(default_probability(trained, documented_request))
    door = FlaskDoor(create_app(servers.serving(servers.with_policy(bundle, *policy))))

    decision = door.predict(documented_request).content

    assert (decision["prediction"], decision["optimal_threshold"], decision["margin"]) == (label, *policy)


def test_extra_keys_are_ignored(door: Door, documented_request: dict[str, float]) -> None:
    expected = door.predict(documented_request)

    answer = door.predict(documented_request | {"SK_ID_CURR": 100002, "nom": "Dupont", "margin": 0.5})

    assert (answer.status, answer.body) == (200, expected.body)


@pytest.mark.parametrize(
    "number",
    [
        "-0",
        "-0.0",
        "2e5",
        "5e-324",
        "1e-400",
        "9007199254740992",
        "1.7976931348623157e308",
        "0.1000000000000000055",
    ],
)
def test_a_number_is_the_nearest_double_however_it_is_written(
    door: Door, documented_request: dict[str, float], trained: LGBMClassifier, number: str
) -> None:
    body = json.dumps(documented_request).replace("200000", number).encode()

    decision = door.send("POST", "/predict", body, JSON).content

    client = documented_request | {"AMT_CREDIT": float(number)}
    assert decision["probability_class_1"] == default_probability(trained, client)


# ---- 400


@pytest.mark.parametrize(
    ("absent", "sentence"),
    [
        pytest.param(["AMT_CREDIT"], "Features manquantes : ['AMT_CREDIT']", id="one"),
        pytest.param(
            ["POS_CNT_INSTALMENT_FUTURE", "EXT_SOURCE_1", "AMT_ANNUITY"],
            "Features manquantes : ['AMT_ANNUITY', 'EXT_SOURCE_1', 'POS_CNT_INSTALMENT_FUTURE']",
            id="several",
        ),
        pytest.param(
            FEATURES,
            "Features manquantes : ['AMT_ANNUITY', 'AMT_CREDIT', 'AMT_GOODS_PRICE', 'CREDIT_TERM', "
            "'DAYS_BIRTH', 'DAYS_ID_PUBLISH', 'DAYS_REGISTRATION', 'EXT_SOURCE_1', 'EXT_SOURCE_2', "
            "'EXT_SOURCE_3', 'DEBT_CREDIT_RATIO', 'ANNUITY_BIRTH_RATIO', 'ANNUITY_INCOME_PERCENT', "
            "'CREDIT_GOODS_RATIO', 'INSTA_AMT_PAYMENT', 'INSTA_NUM_INSTALMENT_VERSION', "
            "'POS_CNT_INSTALMENT_FUTURE']",
            id="all",
        ),
    ],
)
def test_absent_features_are_named_in_the_models_order(
    door: Door, documented_request: dict[str, float], absent: list[str], sentence: str
) -> None:
    reversed_request = dict(reversed(documented_request.items()))

    answer = door.predict({key: value for key, value in reversed_request.items() if key not in absent})

    assert (answer.status, answer.error) == (400, sentence)


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        pytest.param("200000", "doit être un nombre, et non un texte", id="text"),
        pytest.param(True, "doit être un nombre, et non un booléen", id="boolean"),
        pytest.param([200000], "doit être un nombre, et non une liste", id="list"),
        pytest.param({"value": 1}, "doit être un nombre, et non un objet", id="object"),
        pytest.param(10**400, "doit être un nombre fini, dans la plage des doubles", id="beyond doubles"),
        pytest.param(2**53 + 1, "est un entier trop grand pour être représenté exactement", id="inexact"),
        pytest.param(
            None,
            "ne peut pas être null : le modèle n’a appris aucune valeur manquante pour elle",
            id="null",
        ),
    ],
)
def test_a_refused_value_is_described_and_its_feature_named(
    door: Door, documented_request: dict[str, float], value: object, detail: str
) -> None:
    answer = door.predict(documented_request | {"AMT_CREDIT": value})

    assert (answer.status, answer.error) == (400, f"{BAD_DATA}la feature 'AMT_CREDIT' {detail}")


def test_a_refused_value_of_a_nullable_feature_hears_of_null(
    door: Door, documented_request: dict[str, float]
) -> None:
    answer = door.predict(documented_request | {"EXT_SOURCE_1": "0.5"})

    detail = "la feature 'EXT_SOURCE_1' doit être un nombre ou null, et non un texte"
    assert (answer.status, answer.error) == (400, BAD_DATA + detail)


@pytest.mark.parametrize("name", [name for name in FEATURES if name not in SOMETIMES_MISSING])
def test_null_is_refused_where_the_model_has_never_missed_a_value(
    door: Door, documented_request: dict[str, float], name: str
) -> None:
    answer = door.predict(documented_request | {name: None})

    assert answer.status == 400
    assert answer.error.startswith(f"{BAD_DATA}la feature '{name}' ne peut pas être null")


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        pytest.param(b"{", "le corps de la requête n’est pas un JSON valide", id="malformed"),
        pytest.param(b"[]", "le corps de la requête doit être un objet JSON", id="not an object"),
        pytest.param(b'"\xff"', "le corps de la requête n’est pas encodé en UTF-8", id="not UTF-8"),
        pytest.param(
            b"[" * 101, "le corps de la requête dépasse 100 niveaux d’imbrication", id="101 levels deep"
        ),
        pytest.param(
            b'{"AMT_CREDIT": 1, "AMT\\u005fCREDIT": 1}',
            "la clé 'AMT_CREDIT' apparaît plusieurs fois",
            id="duplicate key",
        ),
        pytest.param(
            b'{"AMT_CREDIT": NaN}',
            "la clé 'AMT_CREDIT' porte NaN ou Infinity, qui ne sont pas du JSON",
            id="NaN",
        ),
    ],
)
def test_a_body_that_is_not_strict_json_is_refused_with_its_reason(
    door: Door, body: bytes, detail: str
) -> None:
    answer = door.send("POST", "/predict", body, JSON)

    assert (answer.status, answer.error) == (400, BAD_DATA + detail)


# ---- 413, 415


def test_a_body_of_64_kib_is_accepted_and_one_byte_more_is_not(
    door: Door, documented_request: dict[str, float]
) -> None:
    full = json.dumps(documented_request).encode().ljust(64 * 1024)

    accepted = door.send("POST", "/predict", full, JSON)
    refused = door.send("POST", "/predict", full + b" ", JSON)

    assert accepted.status == 200
    assert (refused.status, refused.error) == (
        413,
        f"{BAD_DATA}le corps de la requête dépasse la limite de 64 Kio",
    )


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"Content-Type": "application/json"}, 200, id="json"),
        pytest.param({"Content-Type": "application/json; charset=utf-8"}, 200, id="json with a charset"),
        pytest.param({"Content-Type": "APPLICATION/JSON"}, 200, id="json in capitals"),
        pytest.param(JSON | {"Content-Encoding": "identity"}, 200, id="identity"),
        pytest.param({}, 415, id="no content type"),
        pytest.param({"Content-Type": "text/plain"}, 415, id="text"),
        pytest.param({"Content-Type": "application/x-www-form-urlencoded"}, 415, id="form"),
        pytest.param(JSON | {"Content-Encoding": "gzip"}, 415, id="gzip"),
    ],
)
def test_only_uncompressed_json_is_read(
    door: Door, documented_request: dict[str, float], headers: dict[str, str], status: int
) -> None:
    body = json.dumps(documented_request).encode()
    if headers.get("Content-Encoding") == "gzip":
        body = gzip.compress(body)

    answer = door.send("POST", "/predict", body, headers)

    assert answer.status == status
    assert status == 200 or answer.error.startswith(BAD_DATA)


# ---- 404, 405


@pytest.mark.parametrize("path", ["/predictions", "/predict/", "/PREDICT", "/predict/1", "/static/app.py"])
def test_an_unknown_path_is_404_in_json(door: Door, path: str) -> None:
    answer = door.send("POST", path, b"{}", JSON)

    assert (answer.status, answer.error) == (404, "Chemin inconnu : consultez GET /docs.")


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_predict_is_only_posted_to(door: Door, method: str) -> None:
    answer = door.send(method, "/predict")

    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert answer.error == "Méthode non autorisée : utilisez POST."


def test_head_of_predict_is_405_without_a_body(door: Door) -> None:
    answer = door.send("HEAD", "/predict")

    assert (answer.status, answer.headers["Allow"], answer.body) == (405, "POST", b"")


@pytest.mark.parametrize("path", ["/", "/health", "/ready", "/docs", "/openapi.json"])
def test_what_is_read_is_not_posted_to(door: Door, path: str) -> None:
    answer = door.send("POST", path, b"{}", JSON)

    assert (answer.status, set(answer.headers["Allow"].split(", "))) == (405, {"GET", "HEAD"})
    assert answer.error == "Méthode non autorisée : utilisez GET ou HEAD."


# ---- 500


class BuggyScorer:
    """A scorer with a bug, whose message carries what the applicant has sent."""

    Refusal = Refusal
    features = FEATURES

    def decide(self, client: Mapping[str, Any]) -> dict[str, str | float]:
        raise ZeroDivisionError(f"client {client}")


@pytest.fixture
def buggy_door(bundle: Bundle) -> FlaskDoor:
    served = servers.serving(bundle.scorer())
    buggy: Any = BuggyScorer()
    return FlaskDoor(create_app(servers.Serving(replace(served.model, scorer=buggy))))


def test_a_bug_is_answered_with_a_reference_and_nothing_else(
    buggy_door: FlaskDoor, documented_request: dict[str, float]
) -> None:
    answer = buggy_door.predict(documented_request | {"AMT_CREDIT": 987654.25})

    prefix, _, reference = answer.error.partition("référence ")
    assert (answer.status, prefix) == (500, "Erreur interne du serveur (")
    assert len(reference.removesuffix(")")) == 12


def test_the_log_has_a_bugs_reference_and_place_but_no_applicants_value(
    buggy_door: FlaskDoor, documented_request: dict[str, float], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        answer = buggy_door.predict(documented_request | {"AMT_CREDIT": 987654.25})

    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    reference = answer.error.removesuffix(")")[-12:]
    assert f"internal error {reference}: ZeroDivisionError at {__file__}" in record.getMessage()
    assert "987654" not in caplog.text
