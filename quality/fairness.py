"""Compares how groups of clients are treated: by age band, and by sex if the data has it."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from features.raw_tables import LABEL
from mlflow_model.bundle.scoring import DecisionPolicy
from quality import bootstrap, groups
from quality.bootstrap import Interval, Summed
from quality.groups import AGE_BANDS, GENDER, SEXES, Names
from quality.scores import Doubles

FOUR_FIFTHS = 0.8  # of the highest approval rate: 29 CFR 1607.4(D)


@dataclass(frozen=True)
class Group:
    """Figures of one group. `equal_opportunity`: the share of its repayers who are approved.

    Hardt, Price and Srebro, NeurIPS 2016.
    """

    name: str
    clients: int
    default_rate: Interval
    mean_probability: float
    approval_rate: Interval
    equal_opportunity: float


@dataclass(frozen=True)
class Comparison:
    """The groups of one attribute, side by side.

    The approval ratio and the equal opportunity gap are of the groups with at least SMALLEST_GROUP clients;
    None if there are not two.
    """

    attribute: str
    groups: tuple[Group, ...]
    approval_ratio: Interval | None
    opportunity_gap: Interval | None

    @property
    def is_below_four_fifths(self) -> bool:
        return self.approval_ratio is not None and self.approval_ratio.value < FOUR_FIFTHS


def compare(
    clients: pd.DataFrame, probabilities: Doubles, policy: DecisionPolicy, seed: int
) -> tuple[Comparison, ...]:
    """One comparison per attribute that has at least two groups among these labelled clients."""
    defaulted = clients[LABEL].to_numpy(np.float64)
    approved = probabilities < policy.lower_bound
    known = groups.attributes(clients["DAYS_BIRTH"].to_numpy(np.float64), clients[GENDER].to_numpy(object))
    found = []
    for attribute, names in known.items():
        of_each = tuple(_groups(names, defaulted, probabilities, approved, seed))
        if len(of_each) > 1:
            found.append(Comparison(attribute, of_each, *_between(names, approved, defaulted, seed)))
    return tuple(found)


def _groups(
    names: Names, defaulted: Doubles, probabilities: Doubles, approved: np.ndarray, seed: int
) -> Iterable[Group]:
    for name in (*AGE_BANDS, *SEXES.values()):
        members = names == name
        if not members.any():
            continue
        repaid = members & (defaulted == 0)
        yield Group(
            name,
            int(members.sum()),
            _interval(bootstrap.mean(defaulted[members]), seed),
            float(probabilities[members].mean()),
            _interval(bootstrap.mean(approved[members]), seed),
            float(approved[repaid].mean()) if repaid.any() else np.nan,
        )


def _between(
    names: Names, approved: np.ndarray, defaulted: Doubles, seed: int
) -> tuple[Interval | None, Interval | None]:
    """The approval ratio and the equal opportunity gap of the large groups."""
    large = groups.large(names)
    if len(large) < 2:
        return None, None
    ratio = groups.approval_ratio(names, large, approved)
    gap = groups.opportunity_gap(names, large, approved, defaulted)
    return _interval(ratio, seed), _interval(gap, seed)


def _interval(figure: Summed, seed: int) -> Interval:
    (drawn,) = bootstrap.resampled([figure], seed)
    return bootstrap.interval(figure.value, drawn)
