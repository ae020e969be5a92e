"""A model that splits between values which differ by rounding alone is told from one that does not."""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier

from promotion.cuts import FineCut, fine_cuts
from quality.portfolio import Portfolio
from tests.command_line import register_py

RATIOS = np.repeat([1.0, 1.000000001, 2.0], 50)
OBSERVED = {"ratio": np.array([1.0, 1.000000001, 2.0, np.nan]), "score": np.array([0.2, 0.3, 0.2, 0.4])}


@pytest.fixture(scope="module")
def text() -> str:
    """A model with splits of the ratio between 1 and a little more, and between that and 2, in two trees."""
    clients = pd.DataFrame({"score": np.tile([0.2, 0.3], 75), "ratio": RATIOS})
    model = LGBMClassifier(n_estimators=2, min_child_samples=1, num_leaves=3, verbosity=-1)
    return str(model.fit(clients, np.repeat([0, 1, 0], 50)).booster_.model_to_string())


def test_a_split_between_two_roundings_of_a_value_is_found(text: str) -> None:
    assert list(fine_cuts(text, ["score", "ratio"], OBSERVED)) == [FineCut("ratio", 1, 1.0, 1.000000001)]


@pytest.mark.parametrize(
    "observed",
    [
        {},
        {"ratio": np.array([1.0, 1.1])},
        {"ratio": np.array([1.000000001, 1.000000002])},
        {"ratio": np.array([np.nan])},
    ],
    ids=["unknown", "far", "aside", "missing"],
)
def test_other_splits_are_not(observed: dict[str, np.ndarray], text: str) -> None:
    assert not list(fine_cuts(text, ["score", "ratio"], observed))


@pytest.mark.slow
def test_registering_such_a_model_warns_and_the_gate_objects(registered: Path, tmp_path: Path) -> None:
    """It is split between the two closest values of a feature of the reference."""
    values = np.unique(Portfolio.read().columns["EXT_SOURCE_2"])
    values = values[np.isfinite(values)]
    place = int(np.argmin(np.diff(values)))
    clients = pd.DataFrame({"EXT_SOURCE_2": np.repeat(values[place : place + 2], 50)})
    model = LGBMClassifier(n_estimators=1, min_child_samples=1, verbosity=-1).fit(
        clients, np.repeat([0, 1], 50)
    )
    document = {"model": model, "features": ["EXT_SOURCE_2"], "optimal_threshold": 0.3}
    (tmp_path / "fine.pkl").write_bytes(pickle.dumps(document))

    told = register_py("--pickle", str(tmp_path / "fine.pkl"))

    assert told.returncode == 0
    assert "Warning: EXT_SOURCE_2 is split once between values like" in told.stderr

    refused = register_py("promote", "2", "--dry-run")
    assert "Objection (splits): EXT_SOURCE_2 is split once between values like" in refused.stderr
