"""Where to draw the line: the threshold that costs the bank least, and the margin around it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlflow_model.scoring import DecisionPolicy, Refusal

Doubles = npt.NDArray[np.float64]


class BadMargin(ValueError):
    def __init__(self, margin: float, threshold: float) -> None:
        room = min(threshold, 1.0 - threshold)
        super().__init__(f"margin {margin} is not between 0 and {room:.4f}, the room around {threshold:.4f}")


@dataclass(frozen=True)
class Costs:
    """What it costs, in any unit, to lend to a client who defaults and to refuse one who would repay."""

    false_negative: float = 5.0
    false_positive: float = 1.0

    @property
    def ideal_threshold(self) -> float:
        """Where both mistakes cost the same, if the probabilities are right."""
        return self.false_positive / (self.false_negative + self.false_positive)


def cost_curve(target: npt.ArrayLike, probabilities: Doubles, costs: Costs) -> tuple[Doubles, Doubles]:
    """Ascending thresholds, and the cost per client of refusing whoever is above each.

    The thresholds are the middles between neighbouring distinct probabilities, 0 and 1 included: one for each
    way to part these clients by their risk.
    """
    distinct, position = np.unique(probabilities, return_inverse=True)
    edges = np.concatenate([[0.0], distinct, [1.0]])
    defaults = np.bincount(position, weights=np.asarray(target, dtype=np.float64))
    repaid = np.bincount(position) - defaults
    accepted_defaults = np.concatenate([[0.0], np.cumsum(defaults)])
    refused_good = repaid.sum() - np.concatenate([[0.0], np.cumsum(repaid)])
    cost = costs.false_negative * accepted_defaults + costs.false_positive * refused_good
    return (edges[:-1] + edges[1:]) / 2, cost / len(probabilities)


def choose(target: npt.ArrayLike, probabilities: Doubles, costs: Costs, margin: float) -> DecisionPolicy:
    """The policy of least cost, and of thresholds that cost the same the lowest, which lends least.

    Raises BadMargin.
    """
    thresholds, cost = cost_curve(target, probabilities, costs)
    threshold = float(thresholds[cost.argmin()])
    try:
        return DecisionPolicy(threshold, margin)
    except Refusal as error:
        raise BadMargin(margin, threshold) from error
