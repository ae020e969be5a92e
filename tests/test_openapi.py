"""/openapi.json describes the model that is served, and the pages read it: in French, and offline."""

import html
import json
import re
from html.parser import HTMLParser
from typing import Any

import lightgbm
import numpy as np
import pytest

from api.app import create_app
from api.delivery.served import ServedModel
from api.web import openapi
from mlflow_model.bundle import bundles
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import DecisionPolicy
from tests import servers
from tests.conftest import FEATURES, SOMETIMES_MISSING
from tests.hostile_requests import REQUESTS
from tests.servers import JSON, Door, FlaskDoor

pytest_plugins = ["tests.api_support", "tests.explain_fixtures"]

OTHER_FEATURES = ["PREV_CNT_PAYMENT", "EXT_SOURCE_2", "AGE_OF_THE_CAPTAIN"]
LABELS = ["Classe_0 (fiable)", "Zone grise (incertain)", "Classe_1 (risqué)"]


@pytest.fixture(scope="module")
def other_door() -> FlaskDoor:
    """An API that serves a model of three features, one of them sometimes missing, one in no catalogue."""
    generator = np.random.default_rng(0)
    values = generator.uniform(size=(500, 3))
    values[generator.random(500) < 0.3, 0] = np.nan
    outcomes = np.nan_to_num(values[:, 0]) + values[:, 1] + values[:, 2] > 1.4
    data = lightgbm.Dataset(values, outcomes, feature_name=OTHER_FEATURES)
    booster = lightgbm.train({"objective": "binary", "verbosity": -1, "num_threads": 1}, data, 10)
    built = bundles.build(
        booster.model_to_string(),
        OTHER_FEATURES,
        DecisionPolicy(0.5, reliable="oui", risky="non", uncertain="à voir"),
        source={"kind": "test", "sha256": "0" * 64},
    )
    return FlaskDoor(create_app(servers.serving(built.scorer(), version="7")))


@pytest.fixture
def without_model() -> FlaskDoor:
    """An API that has not found a model yet."""
    return FlaskDoor(create_app(ServedModel()))


@pytest.fixture
def document(door: Door) -> dict[str, Any]:
    found: dict[str, Any] = door.get("/openapi.json").content
    return found


def schema(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"][name]
    return found


# ---- What it says


def test_every_served_feature_is_required_in_the_models_order(document: dict[str, Any]) -> None:
    client = schema(document, "Client")

    assert tuple(client["required"]) == FEATURES
    assert tuple(client["properties"]) == FEATURES


@pytest.mark.parametrize("name", FEATURES)
def test_null_is_allowed_where_the_model_knows_missing_values(document: dict[str, Any], name: str) -> None:
    expected = ["number", "null"] if name in SOMETIMES_MISSING else "number"

    assert schema(document, "Client")["properties"][name]["type"] == expected


def test_a_documented_feature_comes_with_its_meaning_and_unit(document: dict[str, Any]) -> None:
    credit = schema(document, "Client")["properties"]["AMT_CREDIT"]

    assert credit["title"]
    assert credit["description"]
    assert (credit["x-unit"], credit["x-table"]) == ("unité monétaire", "application")


def test_usual_values_are_rounded_for_people(document: dict[str, Any]) -> None:
    """1823436.45 and 8.427 are more digits than a percentile of other clients means."""
    properties = schema(document, "Client")["properties"]

    assert properties["AMT_CREDIT"]["x-usual"] == [76_000, 1_800_000]
    assert properties["CREDIT_TERM"]["x-usual"] == [8.4, 38]
    assert properties["DAYS_BIRTH"]["x-usual"] == [-24_000, -8_200]


@pytest.mark.parametrize("name", FEATURES)
def test_a_label_beside_its_unit_says_nothing_twice(document: dict[str, Any], name: str) -> None:
    """The dashboard shows both together: « Âge (jours négatifs) »."""
    shown = schema(document, "Client")["properties"][name]
    words = [set(re.findall(r"[^\W\d_]{4,}", shown[key].lower())) for key in ("title", "x-unit")]

    assert not words[0] & words[1]


def test_another_model_brings_its_own_features_labels_and_version(other_door: FlaskDoor) -> None:
    document = other_door.get("/openapi.json").content

    properties = schema(document, "Client")["properties"]
    assert {name: property["type"] for name, property in properties.items()} == {
        "PREV_CNT_PAYMENT": ["number", "null"],
        "EXT_SOURCE_2": "number",
        "AGE_OF_THE_CAPTAIN": "number",
    }
    assert schema(document, "Decision")["properties"]["prediction"]["enum"] == ["oui", "à voir", "non"]
    assert document["info"]["version"] == "7"


def test_the_decision_has_the_seven_keys_and_the_policys_labels(
    door: Door, document: dict[str, Any], documented_request: dict[str, float]
) -> None:
    decision = schema(document, "Decision")

    assert decision["required"] == list(door.predict(documented_request).content)
    assert list(decision["properties"]) == decision["required"]
    assert decision["properties"]["prediction"]["enum"] == LABELS


def test_the_example_is_the_documented_request_and_is_decided_on(
    door: Door, document: dict[str, Any], documented_request: dict[str, float]
) -> None:
    example = schema(document, "Client")["example"]

    assert example == documented_request
    assert door.predict(example).status == 200


def test_the_example_of_an_explanation_is_explained_with_an_offer(shipped_door: FlaskDoor) -> None:
    asked = shipped_door.get("/openapi.json").content["paths"]["/explain"]["post"]["requestBody"]
    example = asked["content"]["application/json"]["example"]

    answer = shipped_door.send("POST", "/explain", json.dumps(example).encode(), JSON).content

    assert answer["warnings"] == []
    assert answer["reasons"]["against"] != []
    assert answer["offers"]["found"] != []
    assert json.dumps(example, indent=2) in html.unescape(shipped_door.get("/docs").body.decode())


def test_the_example_of_another_model_is_decided_on_too(other_door: FlaskDoor) -> None:
    example = schema(other_door.get("/openapi.json").content, "Client")["example"]

    assert list(example) == OTHER_FEATURES
    assert other_door.predict(example).status == 200


def test_every_status_that_predict_can_answer_is_declared(document: dict[str, Any]) -> None:
    declared = {int(status) for status in document["paths"]["/predict"]["post"]["responses"]}
    seen = {sent.status for sent in REQUESTS.values() if (sent.method, sent.path) == ("POST", "/predict")}

    assert seen == {200, 400, 413, 415}
    assert declared == seen | {401, 403, 408, 500, 503}


def test_a_batch_declares_its_three_formats_its_limits_and_its_errors(document: dict[str, Any]) -> None:
    batch = document["paths"]["/predict/batch"]["post"]

    formats = ["application/json", "text/csv", "application/vnd.apache.arrow.stream"]
    assert list(batch["requestBody"]["content"]) == formats
    assert list(batch["responses"]["200"]["content"]) == formats
    assert batch["requestBody"]["content"]["application/json"]["schema"] == {
        "type": "array",
        "minItems": 1,
        "maxItems": 10_000,
        "items": {"$ref": "#/components/schemas/Client"},
    }
    assert list(batch["responses"]) == [*("200", "400", "401", "403", "408", "413", "415", "500", "503")]


def test_a_batch_declares_the_columns_that_it_may_keep(document: dict[str, Any]) -> None:
    (keep,) = document["paths"]["/predict/batch"]["post"]["parameters"]

    assert (keep["name"], keep["in"], keep.get("required", False)) == ("keep", "query", False)
    assert keep["schema"] == {"type": "array", "maxItems": 20, "items": {"type": "string"}}
    assert "parameters" not in document["paths"]["/predict"]["post"]


def test_with_a_journal_a_batch_declares_that_it_may_give_the_receipts_numbers(bundle: Bundle) -> None:
    described = openapi.document(bundle.scorer(), None, has_journal=True)

    _, ids = described["paths"]["/predict/batch"]["post"]["parameters"]
    assert (ids["name"], ids["in"], ids["schema"]["enum"]) == ("ids", "query", ["1"])


def test_every_declared_get_answers_200_as_declared(door: Door, document: dict[str, Any]) -> None:
    paths = [path for path, methods in document["paths"].items() if "get" in methods]

    for path in paths:
        answer = door.get(path)
        (declared,) = document["paths"][path]["get"]["responses"]["200"]["content"]
        assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (200, declared)
    told = ["/model", "/model/history", "/reference", "/reference/clients"]
    assert paths == [*told, "/health", "/ready", "/metrics", "/openapi.json"]


# ---- OpenAPI 3.1, as far as this document uses it


def test_the_document_has_the_parts_that_openapi_3_1_requires(document: dict[str, Any]) -> None:
    assert re.fullmatch(r"3\.1\.\d+", document["openapi"])
    assert {"title", "version"} <= set(document["info"])
    assert set(document) <= {"openapi", "info", "servers", "paths", "components", "tags", "externalDocs"}


def test_every_operation_has_described_responses_under_status_codes(document: dict[str, Any]) -> None:
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    responses = [item for operation in operations for item in operation["responses"].items()]

    assert all(path.startswith("/") for path in document["paths"])
    assert {method for methods in document["paths"].values() for method in methods} == {"get", "post"}
    assert all(
        re.fullmatch(r"[1-5]\d\d", status) and response["description"] for status, response in responses
    )


def test_every_reference_leads_to_a_schema(document: dict[str, Any]) -> None:
    references = re.findall(r'"\$ref": "([^"]+)"', json.dumps(document))

    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references) == known


def schemas_in(value: object) -> list[dict[str, Any]]:
    """Every object under a key `schema`, `schemas` or `properties`, however deep."""
    found: list[dict[str, Any]] = []
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "schema":
                found.append(inner)
            if key in ("schemas", "properties"):
                found.extend(inner.values())
            found.extend(schemas_in(inner))
    return found


def test_every_schema_is_json_schema_2020_12(document: dict[str, Any]) -> None:
    keywords = {
        "$ref",
        "type",
        "required",
        "properties",
        "additionalProperties",
        "enum",
        "title",
        "description",
    }
    keywords |= {"example", "items", "minItems", "maxItems", "format"}
    types = {"object", "array", "number", "string", "null", "integer", "boolean"}
    schemas = schemas_in(document)

    used = {key for schema in schemas for key in schema if not key.startswith("x-")}
    named = {name for schema in schemas if "type" in schema for name in np.atleast_1d(schema["type"])}
    assert used <= keywords
    assert named <= types


def test_every_answer_fits_its_schema(
    door: Door, document: dict[str, Any], documented_request: dict[str, float]
) -> None:
    decision, refusal = door.predict(documented_request).content, door.predict({}).content

    python_types = {"string": str, "number": float}
    expected = schema(document, "Decision")["properties"]
    assert all(isinstance(value, python_types[expected[key]["type"]]) for key, value in decision.items())
    assert list(refusal) == schema(document, "Error")["required"]


# ---- The pages


class Page(HTMLParser):
    """A page as a reader and a browser see it: its words, its language, and all that it loads or links."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.links: set[str] = set()
        self.language: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.language = attributes["lang"] if tag == "html" else self.language
        self.links |= {attributes[name] or "" for name in ("href", "src", "action") if name in attributes}

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page(door: Door, path: str) -> Page:
    answer = door.get(path)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    return Page(answer.body.decode())


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_is_in_french_and_loads_nothing_from_elsewhere(door: Door, path: str) -> None:
    html = door.get(path).body.decode()
    shown = page(door, path)

    assert shown.language == "fr"
    assert shown.links <= {"/", "/docs", "/openapi.json", "/ready"}
    assert re.findall(r"https?://(?!127\.0\.0\.1|localhost)|@import|url\(|<link|<img|<iframe", html) == []


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_every_link_of_a_page_works(door: Door, path: str) -> None:
    statuses = {link: door.get(link).status for link in page(door, path).links}

    assert set(statuses.values()) == {200}


def test_the_documentation_shows_every_feature_label_key_and_error(door: Door) -> None:
    text = page(door, "/docs").text

    named = [*FEATURES, *LABELS, "probability_class_1", "lower_bound", "400", "413", "415", "500", "503"]
    assert [name for name in named if name not in text] == []


def test_the_documentation_says_where_null_is_accepted(door: Door) -> None:
    html = door.get("/docs").body.decode()

    assert html.count("<td>accepté</td>") == len(SOMETIMES_MISSING)
    assert html.count("<td>refusé</td>") == len(FEATURES) - len(SOMETIMES_MISSING)


def test_the_documentation_of_another_model_is_another_page(other_door: FlaskDoor) -> None:
    text = page(other_door, "/docs").text

    assert [name for name in (*OTHER_FEATURES, "oui, à voir, non", "version 7") if name not in text] == []
    assert "AMT_CREDIT" not in text


def test_the_first_page_shows_the_policy_and_the_documented_request(
    door: Door, documented_request: dict[str, float]
) -> None:
    text = page(door, "/").text

    assert "Seuil 0,25, marge 0,02" in text
    (example,) = re.findall(r"-d '(\{.*\})'", text)
    assert json.loads(example) == documented_request


def test_the_first_page_never_runs_what_a_caller_writes(flask_door: FlaskDoor) -> None:
    answer = flask_door.send("GET", "/", headers={"Host": "x<script>alert(1)</script>"})

    assert b"<script>alert" not in answer.body


def test_the_first_page_says_why_there_is_no_model(without_model: FlaskDoor) -> None:
    answer = without_model.get("/")

    assert answer.status == 200
    assert "Erreur lors du chargement du modèle : chargement en cours" in page(without_model, "/").text


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/ready"])
def test_what_describes_the_model_is_503_without_one(without_model: FlaskDoor, path: str) -> None:
    answer = without_model.get(path)

    assert answer.status == 503
    assert answer.error.startswith("Erreur lors du chargement du modèle : ")
