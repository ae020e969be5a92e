"""Fixture of the tests of the dashboard: a service to ask."""

from collections.abc import Iterator

import pytest

from tests import servers
from tests.servers import SocketDoor


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SocketDoor]:
    """It serves the shipped model, and has no journal."""
    with servers.shipped(tmp_path_factory.mktemp("dashboard")) as door:
        yield door
