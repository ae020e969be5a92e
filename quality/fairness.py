"""Compares how groups of clients are treated: by age band, and by sex if the data has it."""

from collections.abc import Iterable, Mapping, Sequence
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
        rates = [bootstrap.mean(outcome[members]), bootstrap.mean(approved[members])]
        default_rate, approval_rate = _intervals(rates, seed)
        yield Group(
            name,
            int(members.sum()),
            default_rate,
            float(probabilities[members].mean()),
            approval_rate,
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
    of_ratio, of_gap = _intervals([ratio, gap], seed)
    return of_ratio, of_gap


def _intervals(figures: Sequence[Summed], seed: int) -> list[Interval]:
    """Of figures of the same clients, who are drawn once for all of them: drawing takes the most time."""
    drawn = bootstrap.resampled(figures, seed)
    return [bootstrap.interval(one.value, values) for one, values in zip(figures, drawn, strict=True)]
