"""Fixtures of the tests of versions that arrive."""

from pathlib import Path

import pytest

from mlflow_model.bundle.bundles import Bundle
from mlflow_model.registry import connection
from tests.conftest import copied_registry, made_once
from tests.live import Registry, policy_of


@pytest.fixture(scope="session")
def two_versions(one_version: Path, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    second = policy_of(bundle, 0.5)

    def make(folder: Path) -> None:
        copied_registry(one_version, folder)
        made = Registry(folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", made.environment["MLFLOW_TRACKING_URI"])
            made.add(second)

    return Registry(made_once(tmp_path_factory, "two_versions", make), {"1": bundle, "2": second})


@pytest.fixture
def live(two_versions: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    copied_registry(two_versions.folder, tmp_path)
    copy = Registry(tmp_path, dict(two_versions.bundles))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", copy.environment["MLFLOW_TRACKING_URI"])
    connection.connect()
    return copy
