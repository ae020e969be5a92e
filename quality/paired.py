"""Compares two models on the same clients: the noise that both share cancels in the difference.

The intervals of differences are those of the paired bootstrap (Efron and Tibshirani 1993, chapter 13), that
of the AUC's is DeLong's.
"""

from collections.abc import Mapping
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quality import measures
from quality.bootstrap import CONFIDENCE, Interval, Summed, interval, resampled
from quality.scores import Doubles, ScoredClients

_STANDARD_ERRORS = NormalDist().inv_cdf((1.0 + CONFIDENCE) / 2)


class Paired(NamedTuple):
    """A figure before and after, and the interval of its difference."""

    before: float
    after: float
    difference: Interval


def compare(figures: Mapping[str, tuple[Summed, Summed]], seed: int) -> dict[str, Paired]:
    """Each figure, given before and after, with its difference; all from the same resamplings."""
    drawn = iter(resampled([one for pair in figures.values() for one in pair], seed))
    return {
        name: _paired(before.value, after.value, next(drawn), next(drawn))
        for name, (before, after) in figures.items()
    }


def _paired(before: float, after: float, drawn_before: Doubles, drawn_after: Doubles) -> Paired:
    return Paired(before, after, interval(after - before, drawn_after - drawn_before))


def auc(target: npt.ArrayLike, before: Doubles, after: Doubles) -> Paired:
    """The two AUCs with the interval of DeLong, DeLong and Clarke-Pearson (Biometrics 44, 1988).

    Everything is NaN if all clients defaulted, or none. `target` may hold default probabilities.
    """
    influence = measures.auc_influence(target, after) - measures.auc_influence(target, before)
    if np.isnan(influence).any():
        return Paired(np.nan, np.nan, Interval(np.nan, np.nan, np.nan))
    one, other = (measures.auc(ScoredClients(target, found).distribution()) for found in (before, after))
    reach = _STANDARD_ERRORS * float(np.sqrt(np.square(influence).sum())) / len(influence)
    return Paired(one, other, Interval(other - one, other - one - reach, other - one + reach))
