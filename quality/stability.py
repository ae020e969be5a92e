"""How far a distribution has moved from another one."""

from statistics import NormalDist

import numpy as np

from quality.scores import Doubles

BINS = 10
NOTABLE = 0.1  # as usual in scoring: below it nothing, from 0.25 on a great deal (Siddiqi 2006, chapter 8)


def population_stability_index(expected: Doubles, actual: Doubles) -> float:
    """PSI: the sum over bins of (actual - expected share) * ln(actual / expected share).

    Siddiqi, Credit Risk Scorecards (2006), chapter 8. The bins hold equal numbers of `expected`, as far as
    equal values allow; an empty bin counts as half a client.
    """
    edges = np.unique(np.quantile(expected, np.arange(1, BINS) / BINS))
    one, other = (_shares(values, edges) for values in (expected, actual))
    return float(((other - one) * np.log(other / one)).sum())


def highest_by_chance(expected: int, actual: int) -> float:
    """The PSI that samples of these sizes exceed in 5 % of all cases without any shift.

    PSI / (1 / expected + 1 / actual) has a chi-square distribution of BINS - 1 degrees of freedom (Yurdakul
    and Naranjo, Journal of Risk Model Validation 14(4), 2020), whose quantile is that of Wilson and Hilferty
    (PNAS 17, 1931).
    """
    freedom = BINS - 1
    part = 2.0 / (9.0 * freedom)
    quantile = freedom * (1.0 - part + NormalDist().inv_cdf(0.95) * part**0.5) ** 3
    return quantile * (1.0 / expected + 1.0 / actual)


def _shares(values: Doubles, edges: Doubles) -> Doubles:
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
    return np.maximum(counts, 0.5) / len(values)
