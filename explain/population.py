"""What the clients of a training were like: quantiles and missing values of each feature.

They travel in the bundle, so that an explanation can say where a client stands among others.
"""

import bisect
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlflow_model.bundle.scoring import Doubles, Scorer

LEVELS = tuple(percent / 100 for percent in range(101))
_DIGITS = 6
_NEARLY_ALL = 0.999
_LARGEST = 1e300  # of what is a double; JSON has integers of any length, and Python's has NaN


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

    def shares(self, value: float) -> tuple[float, float]:
        """The shares of the clients with a lower value, and with a greater one, to about one per cent.

        All of them only where no client has this value, nor one beyond it.
        """
        first, beyond = bisect.bisect_left(self.quantiles, value), bisect.bisect_right(self.quantiles, value)
        if beyond > first:
            return min(LEVELS[first], _NEARLY_ALL), min(1.0 - LEVELS[beyond - 1], _NEARLY_ALL)
        if first in (0, len(LEVELS)):
            return float(first > 0), float(first == 0)
        low, high = self.quantiles[first - 1], self.quantiles[first]
        below = LEVELS[first - 1] + (value - low) / (high - low) * (LEVELS[first] - LEVELS[first - 1])
        return min(below, _NEARLY_ALL), min(1.0 - below, _NEARLY_ALL)


Population = Mapping[str, Distribution]
_known: weakref.WeakKeyDictionary[Scorer, Population] = weakref.WeakKeyDictionary()


def of_scorer(scorer: Scorer) -> Population:
    """The population of a version's training, read once. Versions of format 1 have none."""
    found = _known.get(scorer)
    if found is None:
        found = _known[scorer] = of_facts(getattr(scorer, "population", None))
    return found


def of_clients(columns: Mapping[str, Doubles]) -> dict[str, Any]:
    """These columns' population as plain facts. NaN is a missing value; a column of these is left out."""
    facts = {}
    for name, values in columns.items():
        known = values[~np.isnan(values)]
        if len(known):
            least, *quantiles, greatest = np.quantile(known, LEVELS).tolist()
            shortened = [_short(one) for one in quantiles]
            facts[name] = {
                "missing": _short(1.0 - len(known) / len(values)),
                # The ends to the last digit: beyond them is what the training has not seen.
                "quantiles": [least, *np.clip(shortened, least, greatest).tolist(), greatest],
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
    if not all(type(value) in (int, float) and abs(value) < _LARGEST for value in (missing, *quantiles)):
        return None
    if not (0.0 <= missing <= 1.0 and quantiles == sorted(quantiles)):
        return None
    return Distribution(float(missing), [float(value) for value in quantiles])
