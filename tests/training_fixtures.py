"""Raw tables of few clients, for the tests that train on them."""

from pathlib import Path

import pytest

from tests.test_features_from_tables import portfolio, write_portfolio


@pytest.fixture(scope="session")
def raw_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_portfolio(tmp_path_factory.mktemp("portfolio"), portfolio(1500))
