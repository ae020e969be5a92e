"""One table of paths: what Flask routes, who may ask, and what /openapi.json says agree with it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from api import paths
from api.app import create_app
from api.deciding.service import Service
from api.tokens import Guard
from api.web.routes import flask_app
from mlflow_model.bundle.bundles import Bundle
from tests import servers
from tests.servers import JSON, FlaskDoor


def test_flask_has_the_paths_of_the_contract_and_no_other(bundle: Bundle) -> None:
    rules = create_app(servers.serving(bundle.scorer())).url_map.iter_rules()

    routed = {(rule.rule, method) for rule in rules for method in (rule.methods or set()) - {"HEAD"}}
    assert routed == {
        ("/", "GET"),
        ("/docs", "GET"),
        ("/health", "GET"),
        ("/metrics", "GET"),
        ("/openapi.json", "GET"),
        ("/predict", "POST"),
        ("/predict/batch", "POST"),
        ("/explain", "POST"),
        ("/decisions", "GET"),
        ("/decisions/<id>", "GET"),
        ("/decisions/<id>/explanation", "GET"),
        ("/decisions/<id>/review", "POST"),
        ("/ready", "GET"),
        ("/model", "GET"),
        ("/reference", "GET"),
        ("/reference/clients", "GET"),
        ("/neighbours", "POST"),
    }


def secured(document: Any) -> set[str]:
    operations = {path: one for path, methods in document["paths"].items() for one in methods.values()}
    return {path for path, one in operations.items() if one.get("security") == [{"token": []}]}


def test_the_openapi_document_of_a_service_with_tokens_says_which_paths_ask_for_one(
    bundle: Bundle, tmp_path: Path
) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"score {hashlib.sha256(b'its token').hexdigest()} somebody\n")
    service = Service(servers.serving(bundle.scorer()), Guard(file))

    document = FlaskDoor(flask_app(service)).get("/openapi.json").content

    decides = {"/predict", "/explain", "/predict/batch"}
    tells = {"/model", "/reference", "/reference/clients", "/neighbours", "/metrics"}
    assert secured(document) == decides | tells
    assert document["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}


def test_the_openapi_document_of_a_service_without_tokens_asks_for_none(bundle: Bundle) -> None:
    document = FlaskDoor(create_app(servers.serving(bundle.scorer()))).get("/openapi.json").content

    assert "security" not in str(document)


def test_a_rule_that_is_not_in_the_table_is_not_answered(bundle: Bundle) -> None:
    app = flask_app(Service(servers.serving(bundle.scorer())))
    app.add_url_rule("/journal", view_func=lambda: "everything")

    assert FlaskDoor(app).get("/journal").status == 404


class Failing:
    """A listener that cannot write."""

    def decided(self, *_: Any) -> None:
        raise OSError

    decided_many = recorded = left_unanswered = decided


class OutOfMemory(Failing):
    def decided(self, *_: Any) -> None:
        raise MemoryError

    decided_many = recorded = left_unanswered = decided


@pytest.mark.parametrize("listener", [Failing(), OutOfMemory()], ids=["no disk", "no memory"])
def test_a_listener_that_fails_changes_no_answer_and_no_count(
    bundle: Bundle, documented_request: dict[str, float], listener: Failing
) -> None:
    service = Service(servers.serving(bundle.scorer()), listeners=[listener])
    door = FlaskDoor(flask_app(service))

    one = door.predict(documented_request)
    many = door.send("POST", "/predict/batch", json.dumps([documented_request]).encode(), JSON)
    page = door.get("/metrics").body.decode()

    assert (one.status, many.status) == (200, 200)
    assert 'scoring_requests_total{path="/predict",status="200"} 1.0' in page
    assert 'status="500"' not in page


PAST = ("/decisions", "/decisions/<id>", "/decisions/<id>/explanation", "/decisions/<id>/review")


@pytest.mark.parametrize(
    ("role", "refused"),
    [
        ("score", {"/metrics", *PAST}),
        ("review", {"/predict/batch", "/metrics"}),
        ("audit", {"/predict", "/explain", "/predict/batch", "/neighbours"}),
    ],
)
def test_each_role_may_ask_for_its_own_paths(
    bundle: Bundle, tmp_path: Path, role: str, refused: set[str]
) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"{role} {hashlib.sha256(b'its token').hexdigest()} somebody\n")
    door = FlaskDoor(flask_app(Service(servers.serving(bundle.scorer()), Guard(file))))
    headers = {"Authorization": "Bearer its token", "Content-Type": "application/json"}

    statuses = {one.path: door.send(one.method, one.path, b"{}", headers).status for one in paths.PATHS}

    assert {path for path, status in statuses.items() if status == 403} == refused
