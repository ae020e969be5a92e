"""How sure a figure is: bootstrap intervals, from 1,000 resamplings of the clients."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quality.scores import Doubles

CONFIDENCE = 0.95
RESAMPLINGS = 1000
_MOST_COUNTS = 2**21  # that are held at a time


class Interval(NamedTuple):
    """A figure and its percentile bootstrap interval (Efron and Tibshirani 1993, chapter 13).

    The interval of a calibration error is corrected: see `interval_of_error`.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


def intervals(
    clients: int, seed: int, measure: Callable[[Doubles | None], Mapping[str, float]]
) -> dict[str, Interval]:
    """An interval for each figure that `measure` gives.

    `measure` is called with None for all clients once, then with the counts of each resampling.
    """
    once = measure(None)
    resampled = [measure(counts) for counts in resamplings(clients, seed)]
    return {
        name: (interval_of_error if name == "ece" else interval)(
            value, _known(np.array([figures[name] for figures in resampled]))
        )
        for name, value in once.items()
    }


def _known(resampled: Doubles) -> Doubles:
    """Without the resamplings that have no such figure: among few clients some draw no defaulter."""
    known = resampled[~np.isnan(resampled)]
    return known if len(known) else resampled


def resamplings(clients: int, seed: int) -> Iterator[Doubles]:
    """For each resampling, how often each client is in it, of shape (clients,)."""
    for drawn in _draws(clients, seed):
        yield np.bincount(drawn, minlength=clients).astype(np.float64)


def _draws(clients: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """RESAMPLINGS draws of as many clients as there are, with replacement, as indices."""
    generator = np.random.default_rng(seed)
    for _ in range(RESAMPLINGS):
        yield generator.integers(0, clients, clients)


class Summed(NamedTuple):
    """A figure that is a function of sums over the clients: a mean, a rate, a ratio of rates.

    `columns`: what each client adds, of shape (clients, k). `of`: from sums of shape (..., k) to figures of
    shape (...).
    """

    columns: Doubles
    of: Callable[[Doubles], Doubles]

    @property
    def value(self) -> float:
        return float(self.of(self.columns.sum(axis=0)))


def mean(values: npt.ArrayLike) -> Summed:
    """The mean of one value per client."""
    each = np.asarray(values, dtype=np.float64)
    return Summed(np.column_stack([each, np.ones(len(each))]), lambda sums: sums[..., 0] / sums[..., 1])


def resampled(figures: Sequence[Summed], seed: int) -> list[Doubles]:
    """Each figure in each resampling, of shape (RESAMPLINGS,). Equal figures stay equal to the last digit."""
    clients = len(figures[0].columns)
    drawn = resamplings(clients, seed)
    found: list[list[Doubles]] = [[] for _ in figures]
    while some := list(islice(drawn, max(1, _MOST_COUNTS // clients))):
        counts = np.array(some)
        for values, figure in zip(found, figures, strict=True):
            values.append(figure.of(counts @ figure.columns))
    return [np.concatenate(values) for values in found]


def interval(value: float, resampled: Doubles) -> Interval:
    low, high = _ends(resampled)
    return Interval(float(value), low, high)


def interval_of_error(value: float, resampled: Doubles) -> Interval:
    """The interval of a calibration error. It always holds `value`; a percentile interval may not.

    1. A calibration error is a mean of distances, so noise makes it larger. Resampling adds noise to noise:
       both `value` and its resamplings are biased upwards (Bröcker, Climate Dynamics 39, 2012).
    2. The width is that of the basic bootstrap (Davison and Hinkley 1997, section 5.2), about the mean of
       the resamplings.
    3. The lower end is lowered further by twice the bias that the resamplings show, because for a calibrated
       model they show only sqrt(2) - 1 of it.

    In simulations of 4,000 and 60,000 clients 94 to 98 % of the intervals held an error of 0.002 to 0.034,
    and 88 % an error of 0.
    """
    low, high = _ends(resampled)
    mean = float(resampled.mean())
    bias = max(0.0, mean - value)
    below, above = max(0.0, high - mean), max(0.0, mean - low)
    return Interval(float(value), max(0.0, value - 2 * bias - below), value + above)


def _ends(resampled: Doubles) -> tuple[float, float]:
    tail = (1.0 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tail, 1.0 - tail])
    return float(low), float(high)
