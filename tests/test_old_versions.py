"""A version that an earlier commit registered goes on deciding as it did: its code travels with it.

Each folder of tests/versions is what that commit logged of a model of made-up clients, with the decision that
it gave on the documented client: before_the_rooms (bundle format 1) is of 4127c9d, the last one before the
code moved into rooms, and of_format_2 of 2482440, the last one before leaf masks.
"""

import json
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

from api.delivery.served import loaded
from mlflow_model.bundle import bundles
from mlflow_model.bundle.bundles import Bundle
from tests.looking import look_once

VERSIONS = Path(__file__).parent / "versions"


@pytest.fixture(autouse=True)
def _no_registry(store: Path) -> None:
    """An empty one: the version is named by its folder."""


@pytest.fixture(params=["before_the_rooms", "of_format_2"])
def version(request: pytest.FixtureRequest) -> Path:
    return VERSIONS / str(request.param)


def recorded(version: Path) -> dict[str, Any]:
    return dict(json.loads(version.with_suffix(".json").read_text(encoding="utf-8")))


def bundle_of(version: Path) -> Bundle:
    folder = version / "artifacts" / "bundle"
    return bundles.verified({file.name: file.read_bytes() for file in folder.iterdir()})


def test_its_bundle_is_verified_and_decides_as_it_did(version: Path) -> None:
    scorer = bundle_of(version).scorer()

    assert scorer.decide(recorded(version)["client"]) == recorded(version)["decision"]


def test_many_clients_are_decided_on_as_one_was(version: Path) -> None:
    scorer = bundle_of(version).scorer()
    table = {name: [value] * 40 for name, value in recorded(version)["client"].items()}

    columns = scorer.decide_table(table)

    assert {name: {*column.tolist()} for name, column in columns.items()} == {
        name: {value} for name, value in recorded(version)["decision"].items()
    }


def test_a_version_of_format_2_explains_as_it_did() -> None:
    version = VERSIONS / "of_format_2"
    scorer, client = bundle_of(version).scorer(), recorded(version)["client"]

    assert (
        scorer.contributions([client[name] for name in scorer.features]) == recorded(version)["contributions"]
    )


def test_the_service_fetches_tries_and_serves_it(version: Path, tmp_path: Path) -> None:
    news = look_once(str(version), tmp_path / "cache")

    assert news.problem is None
    assert news.copy is not None
    assert loaded(news.copy).scorer.decide(recorded(version)["client"]) == recorded(version)["decision"]


def test_mlflow_loads_it_with_the_code_that_it_brings(version: Path) -> None:
    client = pd.DataFrame([recorded(version)["client"]]).astype("float64")

    answer = mlflow.pyfunc.load_model(str(version)).predict(client)

    assert answer.iloc[0].to_dict() == recorded(version)["decision"]
