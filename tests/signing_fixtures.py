"""Fixtures of the tests of signatures: a key that is trusted, another one, and three signed versions."""

from pathlib import Path

import pytest

from mlflow_model.registry import connection
from tests.conftest import copied_registry
from tests.signing_support import Key, put, trust


@pytest.fixture(scope="session")
def one_key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return Key(tmp_path_factory.mktemp("keys"), "key")


@pytest.fixture
def key(one_key: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Key:
    """The key that MODEL_PUBLIC_KEY names."""
    trust(tmp_path, monkeypatch, one_key)
    return one_key


@pytest.fixture
def other_key(tmp_path: Path) -> Key:
    return Key(tmp_path, "other")


@pytest.fixture(scope="session")
def signed_once(three_versions: Path, one_key: Key, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signed")
    copied_registry(three_versions, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        for number in (1, 2, 3):
            put(one_key, number)
    return folder


@pytest.fixture
def three_signed(signed_once: Path, key: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Versions 1, 2 and 3, signed in this order; version 1 is the champion."""
    copied_registry(signed_once, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    connection.connect()
    return tmp_path
