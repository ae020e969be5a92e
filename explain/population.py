"""What the clients of a training were like: quantiles and missing values of each feature.

They travel in the bundle, so that an explanation can say where a client stands among others.
"""

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlflow_model.bundle.scoring import Doubles

LEVELS = (0.0, 0.01, *(level / 100 for level in range(5, 100, 5)), 0.99, 1.0)
_DIGITS = 6


@dataclass(frozen=True)
class Distribution:
    """One feature's: the share of clients who lack it, and the quantiles at LEVELS of those who have it."""

    missing: float
    quantiles: Sequence[float]

    @property
    def median(self) -> float:
        return self.quantiles[LEVELS.index(0.5)]

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the greatest value that the training saw."""
        return self.quantiles[0], self.quantiles[-1]

    def share_below(self, value: float) -> float:
        """The share of clients with a lower value; of those with an equal one, half."""
        first, beyond = bisect.bisect_left(self.quantiles, value), bisect.bisect_right(self.quantiles, value)
        if beyond > first:
            return (LEVELS[first] + LEVELS[beyond - 1]) / 2
        if first in (0, len(LEVELS)):
            return float(first > 0)
        low, high = self.quantiles[first - 1], self.quantiles[first]
        part = (value - low) / (high - low)
        return LEVELS[first - 1] + part * (LEVELS[first] - LEVELS[first - 1])


Population = Mapping[str, Distribution]


def of_clients(columns: Mapping[str, Doubles]) -> dict[str, Any]:
    """These columns' population as plain facts. NaN is a missing value; a column of these is left out."""
    facts = {}
    for name, values in columns.items():
        known = values[~np.isnan(values)]
        if len(known):
            quantiles = np.quantile(known, LEVELS)
            facts[name] = {
                "missing": _short(1.0 - len(known) / len(values)),
                "quantiles": [_short(value) for value in quantiles],
            }
    return facts


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def of_facts(facts: object) -> Population:
    """The population of facts that were kept, without what is none: a bundle may hold anything."""
    if not isinstance(facts, Mapping):
        return {}
    found = {name: _distribution(kept) for name, kept in facts.items() if isinstance(kept, Mapping)}
    return {name: kept for name, kept in found.items() if kept is not None}


def _distribution(kept: Mapping[str, Any]) -> Distribution | None:
    missing: Any = kept.get("missing")
    quantiles: Any = kept.get("quantiles")
    if not (isinstance(quantiles, list) and len(quantiles) == len(LEVELS)):
        return None
    if not all(type(value) in (int, float) and math.isfinite(value) for value in (missing, *quantiles)):
        return None
    if not (0.0 <= missing <= 1.0 and quantiles == sorted(quantiles)):
        return None
    return Distribution(float(missing), [float(value) for value in quantiles])
