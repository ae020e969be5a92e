"""The classifier: an unweighted LightGBM, so that its output is a probability of default."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from lightgbm import LGBMClassifier
from sklearn.model_selection import StratifiedKFold
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
FOLDS = 5


class TooFewClients(ValueError):
    """Not enough clients of one class for each fold to hold one."""

    def __init__(self, outcome: int, count: int) -> None:
        super().__init__(f"column TARGET is {outcome} for {count} client(s): at least {FOLDS} are needed")


def fit(features: pd.DataFrame, target: pd.Series, seed: int = 0, n_jobs: int = 1) -> LGBMClassifier:
    """Fit on the MODEL_FEATURES of `features`, NaN meaning missing, with `n_jobs` threads.

    Their number is set from outside: LightGBM would write a parameter for it into the model's text.
    """
    model = LGBMClassifier(**PARAMETERS, random_state=seed, n_jobs=0, verbosity=-1)
    with threadpool_limits(n_jobs, user_api="openmp"):
        return model.fit(features[list(MODEL_FEATURES)], target)


def out_of_fold(
    features: pd.DataFrame, target: pd.Series, seed: int = 0, n_jobs: int = 1
) -> npt.NDArray[np.float64]:
    """Default probabilities of shape (n,), each from a model that has not seen the client.

    Raises TooFewClients.
    """
    for outcome in (0, 1):
        if (count := int((target == outcome).sum())) < FOLDS:
            raise TooFewClients(outcome, count)
    probabilities = np.empty(len(target))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for known, unseen in folds.split(features, target):
        model = fit(features.iloc[known], target.iloc[known], seed, n_jobs)
        probabilities[unseen] = _predict(model, features.iloc[unseen], n_jobs)
    return probabilities


def _predict(model: LGBMClassifier, features: pd.DataFrame, n_jobs: int) -> npt.NDArray[np.float64]:
    return np.asarray(model.predict_proba(features[list(MODEL_FEATURES)], num_threads=n_jobs))[:, 1]


def unused_features(model: LGBMClassifier) -> tuple[str, ...]:
    """The features in no split: of them the model learnt nothing, not even what their absence means."""
    splits = model.booster_.feature_importance("split")
    return tuple(name for name, count in zip(MODEL_FEATURES, splits, strict=True) if count == 0)
