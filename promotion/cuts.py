"""Finds splits of a model that lie between values which differ only by rounding.

A sender who rounds a feature otherwise than the training did then gets another decision.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mlflow_model.bundle import model_text
from mlflow_model.bundle.bundles import Bundle
from quality.scores import Doubles

CLOSEST = 1e-6  # of the larger value's size


@dataclass(frozen=True)
class FineCut:
    """A feature with `cuts` splits between observed values as close as `below` and `above`."""

    feature: str
    cuts: int
    below: float
    above: float

    def __str__(self) -> str:
        times = "once" if self.cuts == 1 else f"{self.cuts} times"
        between = f"between values like {self.below!r} and {self.above!r}"
        return f"{self.feature} is split {times} {between}, so that a client's rounding may decide"


def of_bundle(bundle: Bundle, observed: Mapping[str, Doubles]) -> Iterator[FineCut]:
    """Those of a bundle's model. `observed`: columns of a portfolio by name."""
    features = json.loads(bundle.files["features.json"])
    return fine_cuts(bundle.files["model.txt"].decode(), features, observed)


def fine_cuts(text: str, features: Sequence[str], observed: Mapping[str, Doubles]) -> Iterator[FineCut]:
    """The features that LightGBM's text splits between two observed values closer than CLOSEST.

    `observed`: columns of a portfolio by name; those of features that it lacks are left out.
    """
    for feature, thresholds in _thresholds(text).items():
        values = np.unique(observed.get(features[feature], np.empty(0)))
        values = values[np.isfinite(values)]
        places = np.searchsorted(values, np.array(sorted(thresholds)), side="right")
        inside = places[(places > 0) & (places < len(values))]
        below, above = values[inside - 1], values[inside]
        close = above - below < CLOSEST * np.maximum(np.abs(below), np.abs(above))
        if close.any():
            first = int(np.argmax(close))
            yield FineCut(features[feature], int(close.sum()), float(below[first]), float(above[first]))


def _thresholds(text: str) -> dict[int, set[float]]:
    """The different thresholds of each feature, by its place."""
    found: defaultdict[int, set[float]] = defaultdict(set)
    for tree in model_text.trees(text):
        for place, threshold in zip(tree.features, tree.thresholds, strict=True):
            found[place].add(threshold)
    return dict(sorted(found.items()))
