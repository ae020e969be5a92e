"""One table of paths: what Flask routes, who may ask, and what /openapi.json says agree with it."""

import hashlib
from pathlib import Path

import pytest

from api import paths
from api.app import create_app
from api.deciding.service import Service
from api.tokens import Guard
from api.web.routes import flask_app
from mlflow_model.bundle.bundles import Bundle
from tests import servers
from tests.servers import FlaskDoor


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
        ("/ready", "GET"),
    }


def test_the_openapi_document_says_which_paths_may_ask_for_a_token(bundle: Bundle) -> None:
    document = FlaskDoor(create_app(servers.serving(bundle.scorer()))).get("/openapi.json").content

    operations = {path: one for path, methods in document["paths"].items() for one in methods.values()}
    assert {path for path, one in operations.items() if "security" in one} == {
        "/predict",
        "/predict/batch",
        "/metrics",
    }
    assert document["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}


@pytest.mark.parametrize(
    ("role", "refused"),
    [
        ("score", {"/metrics"}),
        ("review", {"/predict/batch", "/metrics"}),
        ("audit", {"/predict", "/predict/batch"}),
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
