"""Fixtures of the tests of `python -m batch`: a version as a folder, and what POST /predict answers."""

import json
from pathlib import Path
from typing import Any

import pytest

from mlflow_model.bundle.bundles import Bundle
from tests.batch_support import TABLE
from tests.conftest import FEATURES
from tests.servers import JSON, FlaskDoor


@pytest.fixture(scope="session")
def bundle_folder(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "sealed"
    bundle.write(folder)
    return folder


@pytest.fixture(scope="session")
def predicted(flask_door: FlaskDoor) -> list[dict[str, Any]]:
    """What POST /predict answers for each client of TABLE."""
    answers = []
    for row in TABLE.to_pylist():
        body = json.dumps({name: row[name] for name in FEATURES}).encode()
        answers.append(flask_door.send("POST", "/predict", body, JSON).content)
    return answers
