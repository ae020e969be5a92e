"""Small models of six kinds, and rows on which it is hard to score them as LightGBM does."""

import functools
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt

from mlflow_model.bundle import model_text

Doubles = npt.NDArray[np.float64]

WIDTH = 6
ZERO = 1.0000000180025095e-35  # LightGBM's kZeroThreshold, as it stands in texts of models
KINDS: dict[str, dict[str, Any]] = {
    "missing values learnt": {},
    "zero_as_missing": {"zero_as_missing": True, "num_leaves": 16},
    "use_missing=false": {"use_missing": False},
    "64 leaves": {"num_leaves": 64, "min_data_in_leaf": 1},
    "a forest": {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6, "num_leaves": 31},
    "scores of thousands": {"learning_rate": 8_000.0, "sigmoid": 0.7, "num_leaves": 4},
}


def clients(rows: int = 4_000) -> tuple[Doubles, npt.NDArray[np.int64]]:
    """Features with missing values, zeros, values next to 0, and few or many different values."""
    random = np.random.default_rng(21)
    values = random.normal(size=(rows, WIDTH))
    values[random.random(rows) < 0.3, 0] = np.nan
    values[random.random(rows) < 0.4, 1] = 0.0
    values[:, 2] = random.integers(-2, 3, rows)
    values[:, 3] *= 10.0 ** random.integers(-37, 9, rows)
    values[random.random(rows) < 0.2, 4] = np.nan
    values[random.random(rows) < 0.2, 4] = 0.0
    values[:, 5] = np.abs(values[:, 5])
    known = np.nan_to_num(values)
    log_odds = known[:, 0] - known[:, 1] + known[:, 2] + np.sign(known[:, 3]) - known[:, 4] * known[:, 5]
    return values, (log_odds + random.normal(size=rows) > 0).astype(np.int64)


@functools.cache
def booster(kind: str) -> lightgbm.Booster:
    return trained(**KINDS[kind])


def trained(**parameters: Any) -> lightgbm.Booster:
    settings = {"objective": "binary", "verbosity": -1, "num_threads": 1, "num_leaves": 8, "seed": 3}
    values, outcomes = clients()
    return lightgbm.train(settings | parameters, lightgbm.Dataset(values, outcomes), 40)


def hard_rows(text: str, rows: int, seed: int) -> Doubles:
    """Thresholds, up to two doubles beside them, and what LightGBM treats in a way of its own."""
    random = np.random.default_rng(seed)
    special = [0.0, -0.0, ZERO, -ZERO, 5e-324, -1e-36, 1e300, -1e300, np.inf, -np.inf, np.nan, np.nan]
    columns = []
    trees = [*model_text.trees(text)]
    for feature in range(WIDTH):
        cuts = {
            cut
            for tree in trees
            for place, cut in zip(tree.features, tree.thresholds, strict=True)
            if place == feature
        }
        values = np.array([*special, *cuts])
        column = random.choice(values, rows)
        beside = random.integers(-2, 3, rows)
        for _ in range(2):
            with np.errstate(over="ignore"):
                towards = np.where(beside > 0, np.inf, -np.inf)
                column = np.where(beside, np.nextafter(column, towards), column)
            beside -= np.sign(beside)
        columns.append(column)
    return np.array(columns).T
