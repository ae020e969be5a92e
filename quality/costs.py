"""What mistakes cost: the one rule of training, the gate and the benchmarks.

A client is charged as the threshold alone decides, without the margin: above it refused, else accepted. A
client in the grey zone is thus charged like any other, by the side of the threshold on which they stand.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from quality.scores import Doubles, ScoreDistribution


@dataclass(frozen=True)
class Costs:
    """The costs, in any unit, of lending to a client who defaults and of refusing one who would repay."""

    false_negative: float = 5.0
    false_positive: float = 1.0

    @property
    def ideal_threshold(self) -> float:
        """Where both mistakes cost the same if the probabilities are right (Elkan, IJCAI 2001, eq. 2)."""
        return self.false_positive / (self.false_negative + self.false_positive)

    @property
    def relative(self) -> "Costs":
        """The same in units of a refused client who would have repaid."""
        return Costs(self.false_negative / self.false_positive, 1.0)

    def charge(self, accepted_defaults: Any, refused_repayers: Any) -> Any:
        """The cost of these numbers of mistakes, scalars or arrays. Expected numbers may be fractions."""
        return self.false_negative * accepted_defaults + self.false_positive * refused_repayers

    def of_each(self, probabilities: Doubles, threshold: float, outcomes: npt.ArrayLike) -> Doubles:
        """The cost of deciding on each client, of shape (n,).

        `outcomes`: 1 for a default, 0 for a loan repaid; or a default probability, for the expected cost.
        """
        refused, default = is_refused(probabilities, threshold), np.asarray(outcomes, dtype=np.float64)
        return np.asarray(self.charge(np.where(refused, 0.0, default), np.where(refused, 1.0 - default, 0.0)))


DEFAULT = Costs()
# A difference in cost per client that is not worth a worse model otherwise, if refusing a client who would
# repay costs 1.
NEGLIGIBLE = 0.002


def usable(stated: object) -> Costs | None:
    """The costs that a policy's provenance states; None unless they are two positive numbers."""
    if not isinstance(stated, Mapping):
        return None
    found: dict[str, Any] = {name: stated.get(name) for name in asdict(DEFAULT)}
    is_usable = all(type(cost) in (int, float) and 0 < cost < math.inf for cost in found.values())
    return Costs(**{name: float(cost) for name, cost in found.items()}) if is_usable else None


def is_refused(probabilities: Doubles, threshold: float) -> npt.NDArray[np.bool_]:
    """Whether the threshold alone refuses each client. A probability equal to the threshold is accepted."""
    return probabilities > threshold


class CostCurve(NamedTuple):
    """The cost per client of each threshold: `cost[i]` from `edges[i]` up to, not including, `edges[i + 1]`.

    The edges are 0, 1 and the distinct probabilities between: one step for each way in which a threshold
    can divide these clients.
    """

    edges: Doubles
    cost: Doubles

    def at(self, thresholds: npt.ArrayLike) -> Doubles:
        """The cost at each of these thresholds, from 0 to 1. A client exactly on one is accepted."""
        steps = np.searchsorted(self.edges, thresholds, side="right") - 1
        return self.cost[np.minimum(steps, len(self.cost) - 1)]


def cost_curve(scores: ScoreDistribution, costs: Costs) -> CostCurve:
    accepted_defaults = np.concatenate([[0.0], np.cumsum(scores.defaulted)])
    refused_repayers = scores.repaid.sum() - np.concatenate([[0.0], np.cumsum(scores.repaid)])
    cost = costs.charge(accepted_defaults, refused_repayers) / scores.clients
    edges = np.concatenate([[0.0], scores.probabilities, [1.0]])
    # No threshold refuses a client whose probability is 0.
    first = int(edges[1] == 0.0)
    return CostCurve(edges[first:], cost[first:])


def cheapest_threshold(scores: ScoreDistribution, costs: Costs) -> float:
    """The threshold of least cost: the ideal one if none costs less, else the middle of the cheapest step.

    Where several steps cost the same, the lowest is taken: it lends least.
    """
    curve = cost_curve(scores, costs)
    step = int(curve.cost.argmin())
    if curve.at(costs.ideal_threshold) == curve.cost[step]:
        return costs.ideal_threshold
    return float((curve.edges[step] + curve.edges[step + 1]) / 2)
