"""The models that compete: how each is made from a seed, and fitted on the features of clients."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from features.aggregate import FEATURES
from mlflow_model.bundle.scoring import Doubles
from training.protocol.lessons import Lessons

# In the order of the documented request. PREV_CNT_PAYMENT belongs to a sibling of the documented model.
MODEL_FEATURES = tuple(name for name in FEATURES if name != "PREV_CNT_PAYMENT")
CONSTANT = "constant"
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


@dataclass(frozen=True)
class Candidate:
    """A way to make a model from a seed.

    `calibrated`: its output is meant as a probability of default. `deliverable`: it can be handed over in the
    documented pickle. `truth`: the true default probabilities that it is fitted on, which only drawn clients
    have, by the index of the clients.
    """

    name: str
    make: Callable[[int], Any]
    parameters: Mapping[str, Any]
    calibrated: bool = True
    deliverable: bool = False
    truth: pd.Series | None = field(default=None, compare=False, repr=False)


def lightgbm(name: str, *, truth: pd.Series | None = None, **changed: Any) -> Candidate:
    """LightGBM with PARAMETERS, some of them changed. It learns by itself what a missing value means."""
    parameters = {**PARAMETERS, **changed}

    def make(seed: int) -> LGBMClassifier:
        return LGBMClassifier(**parameters, random_state=seed, n_jobs=0, verbosity=-1)

    return Candidate(
        name,
        make,
        parameters,
        calibrated="class_weight" not in changed,
        deliverable=True,
        truth=truth,
    )


def baselines() -> tuple[Candidate, ...]:
    """Simple models. A model that does not beat them is not worth its complexity."""
    return (
        Candidate(CONSTANT, lambda _: DummyClassifier(strategy="prior"), {"strategy": "prior"}),
        Candidate("logistic regression", _logistic_regression, {"impute": "median", "C": 1.0}),
    )


def boosted(truth: pd.Series | None) -> tuple[Candidate, ...]:
    """The models that can be delivered. `truth`: the true default probabilities, if they are known."""
    of_outcomes = (
        lightgbm("LightGBM"),
        lightgbm("LightGBM, class weights", class_weight="balanced"),
    )
    if truth is None:
        return of_outcomes
    return *of_outcomes, lightgbm("LightGBM, fitted on probabilities", truth=truth)


def _logistic_regression(seed: int) -> Any:
    return make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(max_iter=1000, random_state=seed),
    )


def fit(candidate: Candidate, lessons: Lessons, seed: int, n_jobs: int = 1) -> Any:
    """A model fitted on MODEL_FEATURES with `n_jobs` threads. NaN is a missing value.

    The number of threads is set from outside the model: as a parameter, LightGBM would write it into the
    model's text.
    """
    weighted = {} if lessons.weights is None else {"sample_weight": lessons.weights}
    with _threads(n_jobs):
        return candidate.make(seed).fit(lessons.features[list(MODEL_FEATURES)], lessons.outcomes, **weighted)


def probabilities(model: Any, features: pd.DataFrame, n_jobs: int = 1) -> Doubles:
    """The model's probabilities of default, of shape (n,)."""
    with _threads(n_jobs):
        return np.asarray(model.predict_proba(features[list(MODEL_FEATURES)]), dtype=np.float64)[:, 1]


@contextlib.contextmanager
def _threads(n_jobs: int) -> Iterator[None]:
    """Limit OpenMP to `n_jobs` threads, and BLAS to one: its sums depend on the number of threads."""
    with threadpool_limits(1, user_api="blas"), threadpool_limits(n_jobs, user_api="openmp"):
        yield


def unused_features(model: LGBMClassifier) -> tuple[str, ...]:
    """The features in no split. The model learnt nothing about them, not even what a missing value means."""
    splits = model.booster_.feature_importance("split")
    return tuple(name for name, count in zip(MODEL_FEATURES, splits, strict=True) if count == 0)
