"""Fixture of the tests of our HTTP/1.1: a lane to a service."""

import pytest

from api.deciding.service import Service
from api.server.lane import Lane
from mlflow_model.bundle.bundles import Bundle
from tests import servers


@pytest.fixture
def lane(bundle: Bundle) -> Lane:
    return Lane(Service(servers.serving(bundle.scorer())))
