"""Fixtures of the tests of past decisions: clients of each label, and a bank with a journal."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_model.bundle.bundles import Bundle
from tests.conftest import random_clients
from tests.review_support import LABELS, Bank, Client, bank_in


@pytest.fixture(scope="session")
def client_of_each_label(bundle: Bundle) -> dict[str, Client]:
    scorer = bundle.scorer()
    found: dict[str, Client] = {}
    for row in random_clients(1_000, seed=5).to_dict("records"):
        client = {str(name): None if value != value else value for name, value in row.items()}
        found.setdefault(str(scorer.decide(client)["prediction"]), client)
    return {label: found[prediction] for label, prediction in LABELS.items()}


@pytest.fixture(scope="session")
def bank(
    documented_pickle: Path,
    client_of_each_label: dict[str, Client],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Bank]:
    """One worker, tokens, and a journal that nobody harms."""
    with bank_in(tmp_path_factory.mktemp("bank"), documented_pickle, client_of_each_label) as found:
        yield found


@pytest.fixture(scope="session")
def open_bank(
    documented_pickle: Path,
    client_of_each_label: dict[str, Client],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Bank]:
    """A service without tokens."""
    folder = tmp_path_factory.mktemp("open")
    with bank_in(folder, documented_pickle, client_of_each_label, has_tokens=False) as found:
        yield found
