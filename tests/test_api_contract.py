"""POST /predict by docs/api.md, sentence by sentence, at Flask's own client and at a real socket."""

import gzip
import json
import logging
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightgbm import LGBMClassifier

from api.app import create_app
from api.delivery.served import ServedModel
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import Refusal
from mlflow_model.handover import model_files
from mlflow_model.registry import connection, registration
from tests import servers
from tests.conftest import FEATURES, SOMETIMES_MISSING
from tests.looking import look_once
from tests.servers import JSON, Answer, Door, FlaskDoor, SocketDoor

pytest_plugins = ["tests.api_support"]

BAD_DATA = "Erreur lors du traitement des données : "
LOADING = "Erreur lors du chargement du modèle : "
KEYS = [
    "prediction",
    "probability_class_1",
    "probability_class_0",
    "optimal_threshold",
    "margin",
    "lower_bound",
    "upper_bound",
]

Request = dict[str, float]


def default_probability(trained: LGBMClassifier, client: Mapping[str, float | None]) -> float:
    """LightGBM's own answer, by its python package."""
    row = [math.nan if client[name] is None else client[name] for name in FEATURES]
    return float(np.asarray(trained.booster_.predict(np.array([row], dtype=float)))[0])


# ---- 200


def test_the_documented_request_gets_the_seven_keys_in_order(door: Door, documented_request: Request) -> None:
    answer = door.predict(documented_request)

    assert answer.status == 200
    assert list(answer.content) == KEYS


def test_the_decision_is_the_boosters_own_double_and_the_policys_bounds(
    door: Door, documented_request: Request, trained: LGBMClassifier
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
    door: Door, documented_request: Request, trained: LGBMClassifier
) -> None:
    probability = default_probability(trained, documented_request)

    body = door.predict(documented_request).body

    assert f'"probability_class_1": {probability!r}, '.encode() in body


@pytest.mark.parametrize("name", sorted(SOMETIMES_MISSING))
def test_null_is_a_missing_value_where_the_model_has_learnt_it(
    door: Door, documented_request: Request, trained: LGBMClassifier, name: str
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
    documented_request: Request,
    threshold_and_margin: Callable[[float], tuple[float, float]],
    label: str,
) -> None:
    policy = threshold_and_margin(default_probability(trained, documented_request))
    door = FlaskDoor(create_app(servers.serving(servers.with_policy(bundle, *policy))))

    decision = door.predict(documented_request).content

    assert (decision["prediction"], decision["optimal_threshold"], decision["margin"]) == (label, *policy)


def test_extra_keys_are_ignored(door: Door, documented_request: Request) -> None:
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
    door: Door, documented_request: Request, trained: LGBMClassifier, number: str
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
    door: Door, documented_request: Request, absent: list[str], sentence: str
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
    door: Door, documented_request: Request, value: object, detail: str
) -> None:
    answer = door.predict(documented_request | {"AMT_CREDIT": value})

    assert (answer.status, answer.error) == (400, f"{BAD_DATA}la feature 'AMT_CREDIT' {detail}")


def test_a_refused_value_of_a_nullable_feature_hears_of_null(door: Door, documented_request: Request) -> None:
    answer = door.predict(documented_request | {"EXT_SOURCE_1": "0.5"})

    detail = "la feature 'EXT_SOURCE_1' doit être un nombre ou null, et non un texte"
    assert (answer.status, answer.error) == (400, BAD_DATA + detail)


@pytest.mark.parametrize("name", [name for name in FEATURES if name not in SOMETIMES_MISSING])
def test_null_is_refused_where_the_model_has_never_missed_a_value(
    door: Door, documented_request: Request, name: str
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
    door: Door, documented_request: Request
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
    door: Door, documented_request: Request, headers: dict[str, str], status: int
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
    buggy_door: FlaskDoor, documented_request: Request
) -> None:
    answer = buggy_door.predict(documented_request | {"AMT_CREDIT": 987654.25})

    prefix, _, reference = answer.error.partition("référence ")
    assert (answer.status, prefix) == (500, "Erreur interne du serveur (")
    assert len(reference.removesuffix(")")) == 12


def test_the_log_has_a_bugs_reference_and_place_but_no_applicants_value(
    buggy_door: FlaskDoor, documented_request: Request, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        answer = buggy_door.predict(documented_request | {"AMT_CREDIT": 987654.25})

    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    reference = answer.error.removesuffix(")")[-12:]
    assert f"internal error {reference}: ZeroDivisionError at {__file__}" in record.getMessage()
    assert "987654" not in caplog.text


# ---- 503, with the reason


def test_a_starting_api_says_that_it_is_loading(tmp_path: Path) -> None:
    with servers.api(servers.registry_in(tmp_path), tmp_path / "log") as door:
        answer = door.get("/ready")

    detail = "chargement en cours ; réessayez dans quelques secondes"
    assert (answer.status, answer.error) == (503, LOADING + detail)


@dataclass(frozen=True)
class Reason:
    """Why an API without a model answers 503: the same sentence at /ready and at /predict."""

    ready: Answer
    predict: Answer

    @property
    def sentence(self) -> str:
        assert (self.ready.status, self.predict.status) == (503, 503)
        assert self.ready.error == self.predict.error
        return self.ready.error


def reason(environment: Mapping[str, str], log: Path) -> Reason:
    """What it says once the first attempt to load has failed."""
    with servers.api(environment, log) as door:

        def failed() -> Answer | None:
            answer = door.get("/ready")
            return None if "chargement en cours" in answer.error else answer

        return Reason(servers.eventually(failed, "a reason other than loading"), door.predict({}))


def test_an_absent_pickle_is_called_by_its_name(tmp_path: Path) -> None:
    environment = servers.alone(tmp_path / "lgbm_final_model.pkl", tmp_path)

    found = reason(environment, tmp_path / "log")

    assert found.sentence == "Le fichier Pickle 'lgbm_final_model.pkl' est introuvable."


def test_a_pickle_without_its_keys_is_refused_in_the_documented_words(tmp_path: Path) -> None:
    pickle = tmp_path / "lgbm_final_model.pkl"
    pickle.write_bytes(b"\x80\x04}.")  # an empty dict

    found = reason(servers.alone(pickle, tmp_path), tmp_path / "log")

    assert found.sentence == ("Le fichier Pickle ne contient pas les bonnes clés ('model', 'features').")


@pytest.mark.slow
def test_a_file_that_is_no_pickle_is_a_loading_failure(tmp_path: Path) -> None:
    pickle = tmp_path / "lgbm_final_model.pkl"
    pickle.write_bytes(b"PK\x03\x04 this is a zip file")

    found = reason(servers.alone(pickle, tmp_path), tmp_path / "log")

    assert found.sentence.startswith(f"{LOADING}ce fichier est une archive zip ; décompressez-la")


@pytest.mark.slow
def test_any_other_failure_to_load_is_told_with_the_way_out(several_versions: Path, tmp_path: Path) -> None:
    """Such as a tampered artifact."""
    environment = servers.registry_in(several_versions) | {"MODEL_URI": "models:/wrecks@tampered"}

    found = reason(environment, tmp_path / "log")

    assert found.sentence == (
        f"{LOADING}version 1 de wrecks refusée : l’empreinte de 'policy.json' ne correspond pas au manifeste"
        " ; réenregistrez le modèle avec « python register.py »"
    )


@pytest.mark.parametrize(
    ("uri", "detail"),
    [
        pytest.param(
            "models:/scoring-client@nobody",
            "models:/scoring-client@nobody : introuvable ; lancez « python register.py list »",
            id="unknown alias",
        ),
        pytest.param(
            "models:/wrecks@deadly",
            "la version arrête le processus qui la charge ; réenregistrez",
            id="model that kills whoever loads it",
        ),
        pytest.param(
            "models:/scoring-client/99",
            "models:/scoring-client/99 : introuvable ; lancez",
            id="unknown version",
        ),
        pytest.param(
            "models:/nobody@champion", "models:/nobody@champion : introuvable ; lancez", id="unknown model"
        ),
        pytest.param("models:/", "", id="no name"),
        pytest.param("models:/scoring-client", "", id="neither version nor alias"),
        pytest.param("models:/scoring-client@", "", id="empty alias"),
        pytest.param("runs:/nobody/model", "", id="unknown run"),
        pytest.param("nowhere/at/all", "", id="path of nothing"),
        pytest.param("ftp:/x", "", id="unknown scheme"),
    ],
)
def test_the_loader_says_why_a_model_cannot_be_had(
    several_versions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, detail: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", servers.registry_in(several_versions)["MLFLOW_TRACKING_URI"])

    news = look_once(uri, tmp_path)

    assert news.copy is None
    assert news.problem is not None
    assert re.match(
        f"{re.escape(LOADING)}(version . de [a-z-]+ refusée : )?{re.escape(detail)}", news.problem
    )


@pytest.mark.parametrize(
    ("uri", "version"),
    [
        pytest.param("models:/scoring-client@champion", "1", id="alias"),
        pytest.param("models:/scoring-client/2", "2", id="version"),
        pytest.param("models:/scoring-client/latest", "2", id="latest version"),
        pytest.param("{source}", None, id="logged model"),
        pytest.param("runs:/{run_id}/model", None, id="run"),
    ],
)
def test_any_mlflow_model_uri_names_the_model(
    several_versions: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    uri: str,
    version: str | None,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", servers.registry_in(several_versions)["MLFLOW_TRACKING_URI"])
    registered = connection.connect().get_model_version("scoring-client", "1")

    loaded = look_once(uri.format(source=registered.source, run_id=registered.run_id), tmp_path).copy

    assert loaded is not None
    assert loaded.version == version
    assert Path(loaded.folder).is_dir()


def test_a_path_in_model_uri_is_not_shown_to_callers(
    several_versions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", servers.registry_in(several_versions)["MLFLOW_TRACKING_URI"])

    problem = look_once(str(tmp_path / "nowhere"), tmp_path).problem

    assert problem is not None
    assert str(tmp_path) not in problem


# ---- 503, then 200


@pytest.mark.slow
def test_an_api_without_a_model_serves_as_soon_as_there_is_one(
    store: Path, documented_pickle: Path, documented_request: Request, tmp_path: Path
) -> None:
    environment = servers.registry_in(store) | {"RELOAD_SECONDS": "1"}
    with servers.api(environment, tmp_path / "log") as door:
        before = [door.get("/ready"), door.predict(documented_request)]
        registration.register(*model_files.convert(documented_pickle))
        ready = servers.ready(door)
        after = door.predict(documented_request)

    assert [answer.status for answer in before] == [503, 503]
    assert (ready.content["version"], after.status) == ("1", 200)


def test_a_pickle_stands_alone_and_no_registry_is_made(socket_door: SocketDoor) -> None:
    content = socket_door.get("/ready").content

    assert (content["name"], content["version"], content["alias"]) == ("lgbm_final_model.pkl", None, None)
    assert sorted(path.name for path in socket_door.log.parent.iterdir()) == ["cache", "log"]


def test_health_says_alive_with_or_without_a_model(door: Door) -> None:
    without = FlaskDoor(create_app(ServedModel()))

    answers = [door.get("/health"), without.get("/health")]

    assert [(answer.status, answer.content) for answer in answers] == [(200, {"status": "alive"})] * 2
