"""What each feature of one client adds to the log-odds of default, and what that is in probability points."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mlflow_model.bundle.scoring import Scorer

_LARGEST_GAP = 1e-9  # between the probability of the sum and the client's, of the client's


class NotExact(Exception):
    """The contributions do not sum to the log-odds of the client's probability."""


@dataclass(frozen=True)
class Contributions:
    """`base`: the log-odds of nobody in particular. `of_each`: what each feature adds, in the model's order.

    The log-odds of the client are their sum. These are the Shapley values of each tree's path-dependent
    expectation (Lundberg et al., Nature Machine Intelligence 2, 2020), as LightGBM computes them.
    """

    base: float
    log_odds: float
    of_each: Sequence[float]

    @property
    def points(self) -> list[float]:
        """The contributions in proportion: they sum to the client's probability less that of `base`."""
        rate = self._probability_for_log_odds()
        return [rate * part for part in self.of_each]

    def _probability_for_log_odds(self) -> float:
        distance = self.log_odds - self.base
        if distance:
            return (_probability(self.log_odds) - _probability(self.base)) / distance
        probability = _probability(self.base)
        return probability * (1.0 - probability)


def of_row(scorer: Scorer, row: Sequence[float], probability: float) -> Contributions:
    """The contributions for one client, whose values are in the scorer's order, NaN where missing.

    `probability`: the client's, as it was decided on. Raises NotExact.
    """
    *of_each, base = scorer.contributions(row)
    log_odds = math.fsum([*of_each, base])
    if not abs(_probability(log_odds) - probability) <= _LARGEST_GAP * probability:
        raise NotExact
    return Contributions(base, log_odds, of_each)


def _probability(log_odds: float) -> float:
    if log_odds >= 0.0:
        return 1.0 / (1.0 + math.exp(-log_odds))
    odds = math.exp(log_odds)
    return odds / (1.0 + odds)
