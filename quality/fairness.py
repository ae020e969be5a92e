"""Compares how groups of clients are treated: by age band, and by sex if the data has it."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from features.raw_tables import LABEL
from mlflow_model.bundle.scoring import DecisionPolicy
from quality.groups import AGE_BANDS, GENDER, SEXES, attributes
from quality.scores import Doubles


@dataclass(frozen=True)
class Group:
    """Figures of one group. `equal_opportunity`: the share of its repayers who are approved.

    Hardt, Price and Srebro, NeurIPS 2016.
    """

    name: str
    clients: int
    default_rate: float
    mean_probability: float
    approval_rate: float
    equal_opportunity: float


@dataclass(frozen=True)
class Comparison:
    """The groups of one attribute, side by side."""

    attribute: str
    groups: tuple[Group, ...]

    @property
    def approval_gap(self) -> float:
        return _spread(group.approval_rate for group in self.groups)

    @property
    def equal_opportunity_gap(self) -> float:
        return _spread(group.equal_opportunity for group in self.groups)


def compare(clients: pd.DataFrame, probabilities: Doubles, policy: DecisionPolicy) -> tuple[Comparison, ...]:
    """One comparison per attribute that has at least two groups among these labelled clients."""
    judged = pd.DataFrame(
        {
            "defaulted": clients[LABEL].to_numpy() == 1,
            "probability": probabilities,
            "approved": probabilities < policy.lower_bound,
        }
    )
    known = attributes(clients["DAYS_BIRTH"].to_numpy(np.float64), clients[GENDER].to_numpy(object))
    found = (Comparison(attribute, tuple(_groups(judged, names))) for attribute, names in known.items())
    return tuple(comparison for comparison in found if len(comparison.groups) > 1)


def _groups(judged: pd.DataFrame, names: np.ndarray) -> Iterable[Group]:
    for name in (*AGE_BANDS, *SEXES.values()):
        members = judged[names == name]
        if members.empty:
            continue
        repaid = members[~members["defaulted"]]
        yield Group(
            name,
            len(members),
            float(members["defaulted"].mean()),
            float(members["probability"].mean()),
            float(members["approved"].mean()),
            float(repaid["approved"].mean()) if len(repaid) else np.nan,
        )


def _spread(values: Iterable[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return max(known) - min(known)
