"""A version that an earlier commit registered goes on deciding as it did: its code travels with it.

tests/versions/before_the_rooms is what commit 4127c9d logged of a model of made-up clients, the last one
before the code moved into rooms, with the decision that it gave on the documented client.
"""

import json
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from api.delivery.served import loaded
from mlflow_model.bundle import bundles
from tests.looking import look_once

VERSION = Path(__file__).parent / "versions" / "before_the_rooms"
RECORDED = json.loads(VERSION.with_suffix(".json").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def _no_registry(store: Path) -> None:
    """An empty one: the version is named by its folder."""


def test_its_bundle_is_verified_and_decides_as_it_did() -> None:
    files = {file.name: file.read_bytes() for file in (VERSION / "artifacts" / "bundle").iterdir()}

    scorer = bundles.verified(files).scorer()

    assert scorer.decide(RECORDED["client"]) == RECORDED["decision"]


def test_the_service_fetches_tries_and_serves_it(tmp_path: Path) -> None:
    news = look_once(str(VERSION), tmp_path / "cache")

    assert news.problem is None
    assert news.copy is not None
    assert loaded(news.copy).scorer.decide(RECORDED["client"]) == RECORDED["decision"]


def test_mlflow_loads_it_with_the_code_that_it_brings() -> None:
    client = pd.DataFrame([RECORDED["client"]]).astype("float64")

    answer = mlflow.pyfunc.load_model(str(VERSION)).predict(client)

    assert answer.iloc[0].to_dict() == RECORDED["decision"]
