"""Compares how groups of clients are treated: by age band, and by sex if the data has it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from features.raw_tables import LABEL
from mlflow_model.bundle.scoring import DecisionPolicy
from quality.bootstrap import Summed
from quality.scores import Doubles

if TYPE_CHECKING:
    import pandas as pd

AGE_BANDS = {"under 30": 30, "30 to 39": 40, "40 to 49": 50, "50 to 59": 60, "60 and over": np.inf}
GENDER, SEXES = "CODE_GENDER", {"F": "women", "M": "men"}
SMALLEST_GROUP = 100

Names = npt.NDArray[Any]


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


def compare(
    clients: "pd.DataFrame", probabilities: Doubles, policy: DecisionPolicy
) -> tuple[Comparison, ...]:
    """One comparison per attribute that has at least two groups among these labelled clients."""
    import pandas as pd  # here, since the registry's command line waits for what it imports

    judged = pd.DataFrame(
        {
            "defaulted": clients[LABEL].to_numpy() == 1,
            "probability": probabilities,
            "approved": probabilities < policy.lower_bound,
        }
    )
    found = (
        Comparison(attribute, tuple(_groups(judged, groups)))
        for attribute, groups in attributes(
            clients["DAYS_BIRTH"].to_numpy(np.float64), clients[GENDER].to_numpy(object)
        ).items()
    )
    return tuple(comparison for comparison in found if len(comparison.groups) > 1)


def attributes(days_birth: Doubles | None, genders: Names | None) -> dict[str, Names]:
    """The groups of each attribute that is known: the name of each client's group, "" where it is not.

    `days_birth`: days from today back to the birth, negative. `genders`: as in CODE_GENDER.
    """
    found = {}
    if days_birth is not None:
        found["age band"] = _age_bands(-days_birth / 365.25)
    if genders is not None:
        found["sex"] = np.array([SEXES.get(one, "") for one in genders], dtype=object)
    return found


def large_groups(names: Names) -> list[str]:
    """The groups of at least SMALLEST_GROUP clients; the rates of smaller ones are mostly noise."""
    found = {name: int((names == name).sum()) for name in (*AGE_BANDS, *SEXES.values())}
    return [name for name, clients in found.items() if clients >= SMALLEST_GROUP]


def approval_ratio(names: Names, groups: Sequence[str], approved: npt.NDArray[np.bool_]) -> Summed:
    """The adverse impact ratio: the lowest approval rate of a group, divided by the highest.

    The four-fifths rule of 29 CFR 1607.4(D) asks for 0.8. It is 1 if nobody is approved.
    """

    def ratio(sums: Doubles) -> Doubles:
        rates = _rates(sums)
        lowest, highest = rates.min(axis=-1), rates.max(axis=-1)
        return np.divide(lowest, highest, out=np.ones_like(lowest), where=highest > 0)

    return Summed(_rate_columns(names, groups, approved, np.ones(len(names))), ratio)


def opportunity_gap(
    names: Names, groups: Sequence[str], approved: npt.NDArray[np.bool_], outcome: Doubles
) -> Summed:
    """How far apart the groups' shares of approved repayers are (Hardt, Price and Srebro, NeurIPS 2016).

    `outcome`: 1 for a default, or its probability: a client then counts as that share of a repayer.
    """

    def gap(sums: Doubles) -> Doubles:
        rates = _rates(sums)
        return np.asarray(np.nanmax(rates, axis=-1) - np.nanmin(rates, axis=-1))

    return Summed(_rate_columns(names, groups, approved, 1.0 - outcome), gap)


def _rate_columns(
    names: Names, groups: Sequence[str], approved: npt.NDArray[np.bool_], weights: Doubles
) -> Doubles:
    """For each group the weights of its members, then those of its approved members."""
    members = np.column_stack([np.where(names == group, weights, 0.0) for group in groups])
    return np.hstack([members, members * approved[:, None]])


def _rates(sums: Doubles) -> Doubles:
    """The approval rate of each group; NaN for a group of no weight."""
    members, approved = np.split(sums, 2, axis=-1)
    return np.divide(approved, members, out=np.full_like(members, np.nan), where=members > 0)


def _age_bands(years: Doubles) -> Names:
    """The band of each age. NaN, and an age below 0, is in none."""
    bands = np.array([*AGE_BANDS, ""], dtype=object)
    place = np.digitize(years, list(AGE_BANDS.values())[:-1])
    return np.asarray(bands[np.where(years >= 0, place, len(AGE_BANDS))])


def _groups(judged: "pd.DataFrame", names: np.ndarray) -> Iterable[Group]:
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
