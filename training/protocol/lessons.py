"""What a model is fitted on: clients, some of them without their history, and what became of them.

A bank's applicants often come without any history. In the drawn portfolios, as in Kaggle's, nearly all have
one, so that a model would learn of its absence from few.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from features import raw_tables
from features.catalogue import CATALOGUE
from features.raw_tables import LABEL
from quality.scores import Doubles

HISTORY = tuple(feature.name for feature in CATALOGUE if feature.table != raw_tables.APPLICATION)
HIDDEN_SHARE = 0.25


@dataclass(frozen=True)
class Lessons:
    """Clients by their features, an outcome of each, and its weight; `weights` is None where all are 1."""

    features: pd.DataFrame
    outcomes: pd.Series
    weights: Doubles | None = None


def of_outcomes(clients: pd.DataFrame, hidden_share: float, seed: int) -> Lessons:
    """Each client once, with what became of it. The history of `hidden_share` of them is hidden."""
    return Lessons(without_some_history(clients, hidden_share, seed), clients[LABEL])


def of_probabilities(clients: pd.DataFrame, truth: pd.Series, hidden_share: float, seed: int) -> Lessons:
    """Each client twice: defaulted with the weight p, and repaid with the weight 1 - p.

    The expected loss is that of `of_outcomes`, without the chance in the outcomes.
    """
    shown = without_some_history(clients, hidden_share, seed)
    p = truth.loc[clients.index].to_numpy()
    outcomes = pd.Series(np.repeat([1, 0], len(clients)), name=LABEL)
    return Lessons(pd.concat([shown, shown]), outcomes, np.concatenate([p, 1.0 - p]))


def without_some_history(clients: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """The clients, in the same order, a random `share` of them with no value in HISTORY."""
    hidden = np.random.default_rng((seed, len(clients))).random(len(clients)) < share
    columns = [name for name in HISTORY if name in clients.columns]
    return clients.assign(**{name: clients[name].mask(hidden) for name in columns})


def without_history(clients: pd.DataFrame) -> pd.Series:
    """Whether a client has no value in HISTORY at all."""
    return clients[[name for name in HISTORY if name in clients.columns]].isna().all(axis=1)
