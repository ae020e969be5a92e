"""Which group each client belongs to, by age and by sex, and how differently groups are treated.

Without pandas: the registry's command line waits for what it imports.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from quality.bootstrap import Summed
from quality.scores import Doubles

AGE_BANDS = {"under 30": 30, "30 to 39": 40, "40 to 49": 50, "50 to 59": 60, "60 and over": np.inf}
GENDER, SEXES = "CODE_GENDER", {"F": "women", "M": "men"}
SMALLEST_GROUP = 100

Names = npt.NDArray[Any]


def attributes(days_birth: Doubles | None, genders: Names | None) -> dict[str, Names]:
    """The groups of each attribute that is known: the name of each client's group, "" where it is not.

    `days_birth`: days from today back to the birth, negative. `genders`: as in CODE_GENDER.
    """
    found = {}
    if days_birth is not None:
        found["age band"] = _age_bands(-days_birth / 365.25)
    if genders is not None:
        found["sex"] = np.array(
            [SEXES.get(one, "") if isinstance(one, str) else "" for one in genders], dtype=object
        )
    return found


def large(names: Names) -> list[str]:
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
