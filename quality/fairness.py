"""Compares how groups of clients are treated: by age band, and by sex if the data has it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from mlflow_model.bundle.scoring import DecisionPolicy
from quality import bootstrap, groups
from quality.bootstrap import Interval, Summed
from quality.groups import AGE_BANDS, SEXES, Names
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
    attributes: Mapping[str, Names],
    outcome: Doubles,
    probabilities: Doubles,
    policy: DecisionPolicy,
    seed: int,
) -> tuple[Comparison, ...]:
    """One comparison per attribute that has at least two groups among these clients.

    `attributes`: the name of each client's group (see `groups.attributes`). `outcome`: 1 for a default, or
    its probability: a client then counts as that share of a repayer.
    """
    approved = probabilities < policy.lower_bound
    found = []
    for attribute, names in attributes.items():
        of_each = tuple(_groups(names, outcome, probabilities, approved, seed))
        if len(of_each) > 1:
            found.append(Comparison(attribute, of_each, *_between(names, approved, outcome, seed)))
    return tuple(found)


def _groups(
    names: Names, outcome: Doubles, probabilities: Doubles, approved: np.ndarray, seed: int
) -> Iterable[Group]:
    for name in (*AGE_BANDS, *SEXES.values()):
        members = names == name
        if not members.any():
            continue
        repaid = 1.0 - outcome[members]
        yield Group(
            name,
            int(members.sum()),
            _interval(bootstrap.mean(outcome[members]), seed),
            float(probabilities[members].mean()),
            _interval(bootstrap.mean(approved[members]), seed),
            float(approved[members] @ repaid / repaid.sum()) if repaid.any() else np.nan,
        )


def _between(
    names: Names, approved: np.ndarray, outcome: Doubles, seed: int
) -> tuple[Interval | None, Interval | None]:
    """The approval ratio and the equal opportunity gap of the large groups."""
    large = groups.large(names)
    if len(large) < 2:
        return None, None
    ratio = groups.approval_ratio(names, large, approved)
    gap = groups.opportunity_gap(names, large, approved, outcome)
    return _interval(ratio, seed), _interval(gap, seed)


def _interval(figure: Summed, seed: int) -> Interval:
    (drawn,) = bootstrap.resampled([figure], seed)
    return bootstrap.interval(figure.value, drawn)
