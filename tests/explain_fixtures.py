"""Fixtures of the tests of explanations: the shipped model with a population, and a door to it."""

import pytest

from api.app import create_app
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import Scorer
from tests import explain_support, servers
from tests.servers import FlaskDoor


@pytest.fixture(scope="session")
def shipped() -> Bundle:
    return explain_support.shipped_bundle()


@pytest.fixture(scope="session")
def shipped_scorer(shipped: Bundle) -> Scorer:
    return shipped.scorer()


@pytest.fixture(scope="session")
def shipped_door(shipped_scorer: Scorer) -> FlaskDoor:
    return FlaskDoor(create_app(servers.serving(shipped_scorer)))
