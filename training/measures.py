"""How good probabilities are, and how sure that is: measures of scored clients, with bootstrap intervals."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlflow_model.scoring import DecisionPolicy

Doubles = npt.NDArray[np.float64]

BINS = 10
CONFIDENCE = 0.95
RESAMPLINGS = 1000


@dataclass(frozen=True)
class Costs:
    """What it costs, in any unit, to lend to a client who defaults and to refuse one who would repay."""

    false_negative: float = 5.0
    false_positive: float = 1.0

    @property
    def ideal_threshold(self) -> float:
        """Where both mistakes cost the same if the probabilities are right (Elkan, IJCAI 2001, eq. 2)."""
        return self.false_positive / (self.false_negative + self.false_positive)


class Interval(NamedTuple):
    """A figure and its percentile bootstrap interval (Efron and Tibshirani 1993, chapter 13).

    The one of a calibration error is corrected: see `interval_of_error`.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"

    @property
    def holds_zero(self) -> bool:
        return self.low <= 0.0 <= self.high


@dataclass(frozen=True)
class Tally:
    """How many defaulted and how many repaid at each distinct probability, in ascending order."""

    probabilities: Doubles
    defaulted: Doubles
    repaid: Doubles

    @property
    def clients(self) -> float:
        return float(self.defaulted.sum() + self.repaid.sum())


class Bins(NamedTuple):
    """Clients, and how many defaults among them were expected and observed, by ascending risk."""

    clients: Doubles
    expected: Doubles
    observed: Doubles


class ScoredClients:
    """Outcomes (1 is a default) and probabilities of shape (n,), ready to be counted again and again."""

    def __init__(self, target: npt.ArrayLike, probabilities: Doubles) -> None:
        self._order = np.argsort(probabilities, kind="stable")
        ascending = probabilities[self._order]
        self._defaulted = np.asarray(target, dtype=np.float64)[self._order]
        self._starts = np.flatnonzero(np.concatenate([[True], ascending[1:] > ascending[:-1]]))
        self._distinct = ascending[self._starts]
        self._bins = _equal_bins(len(ascending), self._starts)

    def __len__(self) -> int:
        return len(self._order)

    def tally(self, counts: Doubles | None = None) -> Tally:
        """All clients once, or each as often as `counts` says."""
        counts = np.ones(len(self)) if counts is None else counts[self._order]
        defaulted = counts * self._defaulted
        return Tally(self._distinct, self._summed(defaulted), self._summed(counts - defaulted))

    def calibration_error(self, tally: Tally) -> float:
        """ECE: the mean distance of predicted and observed rates over ten bins of equal numbers of clients.

        Naeini, Cooper and Hauskrecht, AAAI 2015, with bins of equal numbers instead of equal widths.
        """
        bins = self.bins(tally)
        return float(np.abs(bins.expected - bins.observed).sum() / tally.clients)

    def bins(self, tally: Tally) -> Bins:
        clients = tally.defaulted + tally.repaid
        expected, observed, sizes = (
            np.add.reduceat(part, self._bins)
            for part in (clients * tally.probabilities, tally.defaulted, clients)
        )
        return Bins(sizes, expected, observed)

    def _summed(self, values: Doubles) -> Doubles:
        return values if len(self._starts) == len(self) else np.add.reduceat(values, self._starts)


def _equal_bins(clients: int, starts: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Where each of ten bins starts, as an index of distinct probabilities: equals are not parted."""
    wanted = np.arange(BINS) * clients / BINS
    return np.unique(np.searchsorted(starts, wanted, side="right") - 1)


def resamplings(clients: int, seed: int) -> Iterator[Doubles]:
    """How often each client is drawn, in each of RESAMPLINGS draws of as many clients with replacement."""
    generator = np.random.default_rng(seed)
    for _ in range(RESAMPLINGS):
        drawn = generator.integers(0, clients, clients)
        yield np.bincount(drawn, minlength=clients).astype(np.float64)


def intervals(
    clients: int, seed: int, measure: Callable[[Doubles | None], Mapping[str, float]]
) -> dict[str, Interval]:
    """What `measure` gives for all clients once (None), with intervals from its values for resamplings."""
    once = measure(None)
    resampled = [measure(counts) for counts in resamplings(clients, seed)]
    return {
        name: (interval_of_error if name == "ece" else interval)(
            value, np.array([figures[name] for figures in resampled])
        )
        for name, value in once.items()
    }


def interval(value: float, resampled: Doubles) -> Interval:
    low, high = _ends(resampled)
    return Interval(float(value), low, high)


def interval_of_error(value: float, resampled: Doubles) -> Interval:
    """Of a calibration error, a mean of distances: it holds `value`, which a percentile interval may not.

    Noise makes distances longer, and resampling adds noise to noise: both are biased upwards (Bröcker,
    Climate Dynamics 39, 2012). The ends are those of the basic bootstrap (Davison and Hinkley 1997, section
    5.2) about the mean of the resamplings. The lower one is less by twice the bias that these show: of a
    calibrated model's bias they show sqrt(2) - 1 only. In simulations of 4,000 and 60,000 clients 94 to 98 %
    of the intervals held an error of 0.002 to 0.034, and 88 % an error of 0.
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


def measure(
    clients: ScoredClients, policy: DecisionPolicy, costs: Costs, counts: Doubles | None = None
) -> dict[str, float]:
    """Every figure that the card and MLflow show of scored clients under a policy."""
    tally = clients.tally(counts)
    discrimination = auc(tally)
    return {
        "auc": discrimination,
        "gini": 2 * discrimination - 1,
        "ks": kolmogorov_smirnov(tally),
        "pr_auc": average_precision(tally),
        "brier": brier(tally),
        "ece": clients.calibration_error(tally),
        **business(tally, policy, costs),
    }


def auc(tally: Tally) -> float:
    """The probability that of a defaulter and a repayer the defaulter has the higher one; half for a tie."""
    repaid_below = np.cumsum(tally.repaid) - tally.repaid
    pairs = tally.defaulted @ (repaid_below + tally.repaid / 2)
    return float(pairs / (tally.defaulted.sum() * tally.repaid.sum()))


def kolmogorov_smirnov(tally: Tally) -> float:
    """The largest distance of the two outcomes' cumulative distributions of the probability."""
    defaulted, repaid = (np.cumsum(part) / part.sum() for part in (tally.defaulted, tally.repaid))
    return float(np.abs(defaulted - repaid).max())


def average_precision(tally: Tally) -> float:
    """The area under precision and recall, as a sum of steps."""
    found = np.cumsum(tally.defaulted[::-1])
    drawn = np.cumsum((tally.defaulted + tally.repaid)[::-1])
    precision = np.divide(found, drawn, out=np.zeros_like(found), where=drawn > 0)
    return float(precision @ tally.defaulted[::-1] / found[-1])


def brier(tally: Tally) -> float:
    """The mean squared distance of probability and outcome (Brier, Monthly Weather Review 78, 1950)."""
    squares = tally.defaulted * (1.0 - tally.probabilities) ** 2 + tally.repaid * tally.probabilities**2
    return float(squares.sum() / tally.clients)


def business(tally: Tally, policy: DecisionPolicy, costs: Costs) -> dict[str, float]:
    """What the bank sees. The cost counts each client as decided by the threshold alone, without margin."""
    clients, probabilities = tally.defaulted + tally.repaid, tally.probabilities
    approved = probabilities < policy.lower_bound
    grey = ~approved & (probabilities <= policy.upper_bound)
    refused = probabilities > policy.threshold
    lost = costs.false_negative * tally.defaulted[~refused].sum()
    missed = costs.false_positive * tally.repaid[refused].sum()
    lent_to = clients[approved].sum()
    return {
        "cost_per_client": float((lost + missed) / tally.clients),
        "approval_rate": float(lent_to / tally.clients),
        "grey_rate": float(clients[grey].sum() / tally.clients),
        "default_rate_of_approved": float(tally.defaulted[approved].sum() / max(lent_to, 1.0)),
    }


class CostCurve(NamedTuple):
    """What refusing everyone above a threshold costs a client: `cost[i]` from `edges[i]` to `edges[i + 1]`.

    The edges are the distinct probabilities between 0 and 1: there is a step for each way to part these
    clients by their risk.
    """

    edges: Doubles
    cost: Doubles

    def at(self, thresholds: npt.ArrayLike) -> Doubles:
        """The cost at each of these thresholds, from 0 to 1. Whoever stands on one is accepted."""
        steps = np.searchsorted(self.edges, thresholds, side="right") - 1
        return self.cost[np.minimum(steps, len(self.cost) - 1)]


def cost_curve(tally: Tally, costs: Costs) -> CostCurve:
    accepted_defaults = np.concatenate([[0.0], np.cumsum(tally.defaulted)])
    refused_good = tally.repaid.sum() - np.concatenate([[0.0], np.cumsum(tally.repaid)])
    cost = (costs.false_negative * accepted_defaults + costs.false_positive * refused_good) / tally.clients
    edges = np.concatenate([[0.0], tally.probabilities, [1.0]])
    # No threshold refuses a client whose probability is 0.
    first = int(edges[1] == 0.0)
    return CostCurve(edges[first:], cost[first:])


def cheapest_threshold(tally: Tally, costs: Costs) -> float:
    """The threshold of least cost: theory's where none costs less, else the middle of the cheapest step.

    Of steps that cost the same it is the lowest, which lends least.
    """
    curve = cost_curve(tally, costs)
    step = int(curve.cost.argmin())
    if curve.at(costs.ideal_threshold) == curve.cost[step]:
        return costs.ideal_threshold
    return float((curve.edges[step] + curve.edges[step + 1]) / 2)
