"""Scored clients with known outcomes, counted by probability: what every measure is computed from."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlflow_model.bundle.scoring import Doubles

BINS = 10


@dataclass(frozen=True)
class ScoreDistribution:
    """How many clients defaulted and how many repaid at each distinct probability, in ascending order."""

    probabilities: Doubles
    defaulted: Doubles
    repaid: Doubles

    @property
    def clients(self) -> float:
        return float(self.defaulted.sum() + self.repaid.sum())

    @property
    def has_both(self) -> bool:
        """Whether some defaulted and some repaid."""
        return bool(self.defaulted.sum() and self.repaid.sum())


class Bins(NamedTuple):
    """By ascending risk: the clients of each bin, and their defaults as expected and as observed."""

    clients: Doubles
    expected: Doubles
    observed: Doubles


class ScoredClients:
    """Outcomes (1 is a default) and probabilities of shape (n,), sorted once to be counted many times."""

    def __init__(self, target: npt.ArrayLike, probabilities: Doubles) -> None:
        self._order = np.argsort(probabilities, kind="stable")
        ascending = probabilities[self._order]
        self._defaulted = np.asarray(target, dtype=np.float64)[self._order]
        self._starts = np.flatnonzero(np.concatenate([[True], ascending[1:] > ascending[:-1]]))
        self._distinct = ascending[self._starts]
        self._bins = _equal_bins(len(ascending), self._starts)

    def __len__(self) -> int:
        return len(self._order)

    def distribution(self, counts: Doubles | None = None) -> ScoreDistribution:
        """Each client counted once, or as often as `counts` says."""
        counts = np.ones(len(self)) if counts is None else counts[self._order]
        defaulted = counts * self._defaulted
        return ScoreDistribution(self._distinct, self._summed(defaulted), self._summed(counts - defaulted))

    def calibration_error(self, scores: ScoreDistribution) -> float:
        """ECE: the mean distance of predicted and observed rates over ten bins of equal numbers of clients.

        Naeini, Cooper and Hauskrecht, AAAI 2015, with bins of equal numbers instead of equal widths.
        """
        bins = self.bins(scores)
        return float(np.abs(bins.expected - bins.observed).sum() / scores.clients)

    def bins(self, scores: ScoreDistribution) -> Bins:
        clients = scores.defaulted + scores.repaid
        expected, observed, sizes = (
            np.add.reduceat(part, self._bins)
            for part in (clients * scores.probabilities, scores.defaulted, clients)
        )
        return Bins(sizes, expected, observed)

    def bin_of_each(self) -> npt.NDArray[np.intp]:
        """The number of each client's bin, in the order in which the clients were given."""
        bins = np.empty(len(self), dtype=np.intp)
        firsts = self._starts[self._bins]
        bins[self._order] = np.searchsorted(firsts, np.arange(len(self)), side="right") - 1
        return bins

    def _summed(self, values: Doubles) -> Doubles:
        return values if len(self._starts) == len(self) else np.add.reduceat(values, self._starts)


def _equal_bins(clients: int, starts: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Where each of ten bins starts, as an index of distinct probabilities: equal ones stay together."""
    wanted = np.arange(BINS) * clients / BINS
    return np.unique(np.searchsorted(starts, wanted, side="right") - 1)
