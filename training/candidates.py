"""The models that compete: how each is made from a seed, and fitted on the features of clients."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from lightgbm import LGBMClassifier
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from training.aggregate import FEATURES

# In the order of the documented request. PREV_CNT_PAYMENT belongs to a sibling of the documented model.
MODEL_FEATURES = tuple(name for name in FEATURES if name != "PREV_CNT_PAYMENT")
PARAMETERS: dict[str, Any] = {
    "n_estimators": 300,
    "learning_rate": 0.05,
    "num_leaves": 8,
    "min_child_samples": 200,
    "subsample": 0.8,
    "subsample_freq": 1,
    "colsample_bytree": 0.6,
    "reg_lambda": 20.0,
    "deterministic": True,
    "force_row_wise": True,
}

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """A way to make a model from a seed.

    `calibrated`: its output is meant as a probability of default. `deliverable`: it fits the documented
    pickle.
    """

    name: str
    make: Callable[[int], Any]
    parameters: Mapping[str, Any]
    calibrated: bool = True
    deliverable: bool = False


def lightgbm(name: str, **changed: Any) -> Candidate:
    """PARAMETERS, some of them changed. A missing value stays missing: LightGBM learns what that means."""
    parameters = {**PARAMETERS, **changed}

    def make(seed: int) -> LGBMClassifier:
        return LGBMClassifier(**parameters, random_state=seed, n_jobs=0, verbosity=-1)

    return Candidate(name, make, parameters, calibrated="class_weight" not in changed, deliverable=True)


def baselines() -> tuple[Candidate, ...]:
    """What a model must beat to be worth its trouble."""
    return (
        Candidate("constant", lambda _: DummyClassifier(strategy="prior"), {"strategy": "prior"}),
        Candidate("logistic regression", _logistic_regression, {"impute": "median", "C": 1.0}),
    )


def boosted() -> tuple[Candidate, ...]:
    """The models that can be delivered."""
    return (
        lightgbm("LightGBM"),
        lightgbm("LightGBM, class weights", class_weight="balanced"),
    )


def _logistic_regression(seed: int) -> Any:
    return make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True),
        StandardScaler(),
        LogisticRegression(max_iter=1000, random_state=seed),
    )


def fit(candidate: Candidate, features: pd.DataFrame, target: pd.Series, seed: int, n_jobs: int = 1) -> Any:
    """A model fitted on the MODEL_FEATURES of `features`, NaN meaning missing, with `n_jobs` threads.

    Their number is set from outside: LightGBM would write a parameter for it into the model's text.
    """
    with _threads(n_jobs):
        return candidate.make(seed).fit(features[list(MODEL_FEATURES)], target)


def probabilities(model: Any, features: pd.DataFrame, n_jobs: int = 1) -> Doubles:
    """The model's probabilities of default, of shape (n,)."""
    with _threads(n_jobs):
        return np.asarray(model.predict_proba(features[list(MODEL_FEATURES)]), dtype=np.float64)[:, 1]


@contextlib.contextmanager
def _threads(n_jobs: int) -> Iterator[None]:
    """BLAS stays with one thread: its sums depend on their number."""
    with threadpool_limits(1, user_api="blas"), threadpool_limits(n_jobs, user_api="openmp"):
        yield


def unused_features(model: LGBMClassifier) -> tuple[str, ...]:
    """The features in no split: of them the model learnt nothing, not even what their absence means."""
    splits = model.booster_.feature_importance("split")
    return tuple(name for name, count in zip(MODEL_FEATURES, splits, strict=True) if count == 0)
