"""Small models for files of every kind that people bring, and what the author of a file would score."""

import functools
import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier

from mlflow_model.bundle.bundles import Bundle
from mlflow_model.handover import model_files

NAMES = ["AMT_CREDIT", "AMT_INCOME", "EXT_SOURCE", "DAYS_BIRTH"]
SMALL: dict[str, Any] = {"n_estimators": 8, "num_leaves": 5, "verbosity": -1, "n_jobs": 1}
ROWS = 400


def _clients() -> pd.DataFrame:
    random = np.random.default_rng(11)
    values = random.normal(size=(ROWS, len(NAMES)))
    values[random.random(ROWS) < 0.3, 2] = np.nan
    return pd.DataFrame(values, columns=NAMES)


CLIENTS = _clients()
OUTCOMES = (
    CLIENTS.fillna(0).to_numpy() @ [0.3, -0.5, -1.0, 0.4] + np.random.default_rng(12).normal(size=ROWS) > 0.6
).astype(int)


@dataclass(frozen=True)
class Specimen:
    """`original`: its author's default probabilities of CLIENTS; None if the file must be refused.

    `is_damaged`: only such a file may be called damaged. `written`: how an author makes it.
    """

    written: str
    content: Callable[[], bytes]
    original: Callable[[], Any] | None = None
    threshold: float | None = None
    default_class: str | None = None
    is_damaged: bool = False

    def expected(self) -> np.ndarray:
        assert self.original is not None
        return np.asarray(self.original(), dtype=np.float64)


@functools.cache
def classifier(**parameters: Any) -> LGBMClassifier:
    return LGBMClassifier(**SMALL | parameters).fit(CLIENTS, OUTCOMES)


def of_classes(classes: list[Any], dtype: Any = None) -> LGBMClassifier:
    outcomes = np.array(classes, dtype=dtype)[OUTCOMES]
    return LGBMClassifier(**SMALL).fit(CLIENTS, outcomes)


@functools.cache
def booster(**parameters: Any) -> lightgbm.Booster:
    settings = {"objective": "binary", "verbosity": -1, "num_threads": 1, "num_leaves": 5}
    return lightgbm.train(settings | parameters, lightgbm.Dataset(CLIENTS, OUTCOMES), 8)


def document(**content: Any) -> dict[str, Any]:
    return {"model": classifier(), "features": NAMES, "optimal_threshold": 0.3, "margin": 0.05} | content


def pickled(**content: Any) -> Callable[[], bytes]:
    return lambda: pickle.dumps(document(**content), 4)


def joblibbed(compress: Any = 0, **content: Any) -> Callable[[], bytes]:
    def dumped() -> bytes:
        stream = io.BytesIO()
        joblib.dump(document(**content), stream, compress=compress)
        return stream.getvalue()

    return dumped


def forest() -> lightgbm.Booster:
    return booster(boosting="rf", bagging_freq=1, bagging_fraction=0.5)


def bundle_of(specimen: Specimen, folder: Path) -> Bundle:
    """The bundle that the file becomes. Raises ModelUnavailable."""
    path = folder / "model.file"
    path.write_bytes(specimen.content())
    model = model_files.read(path, specimen.default_class)
    return model_files.bundle_of(model, path, specimen.threshold)[0]
