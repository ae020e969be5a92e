"""What was measured on real Home Credit clients, in a form from which clients can be drawn.

The figures are in calibration.json beside this file. They are aggregates only: no row is of a real client.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Facts = Mapping[str, Any]

FILE = Path(__file__).with_name("calibration.json")


@dataclass(frozen=True)
class Correction:
    """What is added to the fitted label model: to the effect of one missing feature, and to the intercept."""

    feature: str
    effect_missing: float
    intercept: float


# The label model was fitted on 14,031 labelled clients of the bank's population and on 7,965 more, whose
# sampling was not undone: to some 7,237 non-defaulters without EXT_SOURCE_1 they added some 4,296. A
# missing EXT_SOURCE_1 therefore seems safer than it is, in log-odds by ln(11,533 / 7,237) = 0.466. This
# follows from the design of the samples alone, and from no outcome. The intercept brings the default rate
# back to the population's 8.07 %: it was solved on 356,256 drawn clients.
CORRECTION = Correction("EXT_SOURCE_1", 0.466, -0.2656)
# The AUC of the true probabilities over a whole portfolio, as `benchmarks quality` measures it. The scale of
# the label model was set so that it was 0.778 without the correction: a choice, and no measurement.
AUC_OF_TRUTH = 0.777

_TAIL = 3.654  # Beyond it, NumPy's standard_normal takes a logarithm (ziggurat_nor_r).


def rounded(values: Floats, decimals: int) -> Floats:
    """Drop the last bits of results of exp, log or LAPACK, because they differ between processors.

    Sums, products and quotients of whole arrays need no rounding: IEEE 754 defines every bit of them.
    """
    return np.round(values, decimals)


def normals(generator: np.random.Generator, size: int | tuple[int, ...]) -> Floats:
    """Standard normals, rounded to 9 decimals in the tails, where they depend on a logarithm."""
    drawn = generator.standard_normal(size)
    tail = np.abs(drawn) > _TAIL
    drawn[tail] = rounded(drawn[tail], 9)
    return drawn


def _normal_scores(probabilities: Iterable[float]) -> Floats:
    return rounded(np.array([NormalDist().inv_cdf(probability) for probability in probabilities]), 12)


@dataclass(frozen=True)
class Quantiles:
    """A quantile function of normal scores. It is flat beyond its ends, and a repeated value is an atom.

    Between two levels it is linear in the score. That differs by less than 0.001 from linear in probability.
    """

    scores: Floats
    values: Floats

    def __call__(self, scores: Floats) -> Floats:
        """The values at these scores.

        Not by np.interp: where a processor has a fused multiply-add, it rounds once less.
        """
        inside = np.clip(scores, self.scores[0], self.scores[-1])
        level = np.searchsorted(self.scores, inside, side="right") - 1
        return self._slopes[level] * (inside - self.scores[level]) + self.values[level]

    @cached_property
    def _slopes(self) -> Floats:
        return np.append(np.diff(self.values) / np.diff(self.scores), 0.0)

    @property
    def median(self) -> float:
        return float(self(np.zeros(1))[0])


@dataclass(frozen=True)
class Copula:
    """Correlated standard normals. Each is named after the variable or the event that it determines."""

    names: tuple[str, ...]
    root: Floats
    thresholds: Mapping[str, float]

    @classmethod
    def of(cls, facts: Facts) -> "Copula":
        events = facts["probability"]
        thresholds = _normal_scores(1 - probability for probability in events.values()).tolist()
        root = rounded(np.linalg.cholesky(np.array(facts["correlation"])), 12)
        return cls(tuple(facts["names"]), root, dict(zip(events, thresholds, strict=True)))

    def draw(self, count: int, generator: np.random.Generator) -> dict[str, Floats]:
        independent = normals(generator, (len(self.names), count))
        # Not `@` or einsum: the order of their sums depends on the number of threads and on the processor.
        together = np.zeros_like(independent)
        for weights, scores in zip(self.root.T, independent, strict=True):
            together += np.multiply.outer(weights, scores)
        return dict(zip(self.names, together, strict=True))

    def happens(self, event: str, scores: Mapping[str, Floats]) -> Flags:
        return scores[event] > self.thresholds[event]


@dataclass(frozen=True)
class Effect:
    """What a feature adds to the log-odds of default: a step function, with the new value at each edge."""

    edges: Floats
    steps: Floats
    missing: float

    def __call__(self, values: Floats) -> Floats:
        steps = self.steps[np.searchsorted(self.edges, values, side="right")]
        return np.where(np.isnan(values), self.missing, steps)


@dataclass(frozen=True)
class LabelModel:
    intercept: float
    effects: Mapping[str, Effect]

    @classmethod
    def of(cls, facts: Facts) -> "LabelModel":
        """The fitted model with its CORRECTION."""
        effects = {
            feature["name"]: Effect(
                np.array(feature["edges"]), np.array(feature["effects"]), feature["effect_missing"]
            )
            for feature in facts["features"]
        }
        wrong = effects[CORRECTION.feature]
        effects[CORRECTION.feature] = replace(wrong, missing=wrong.missing + CORRECTION.effect_missing)
        return cls(facts["intercept"] + CORRECTION.intercept, effects)

    def default_probability(self, features: Mapping[str, Floats]) -> Floats:
        log_odds = self.intercept + sum(effect(features[name]) for name, effect in self.effects.items())
        return rounded(1 / (1 + np.exp(-log_odds)), 9)


@dataclass(frozen=True)
class Calibration:
    sha256: str
    facts: Facts

    @classmethod
    def read(cls) -> "Calibration":
        content = FILE.read_bytes()
        return cls(hashlib.sha256(content).hexdigest(), json.loads(content))

    @cached_property
    def copula(self) -> Copula:
        return Copula.of(self.facts["latent"])

    @cached_property
    def label_model(self) -> LabelModel:
        return LabelModel.of(self.facts["label_model"])

    def quantiles(self, part: str, *path: str) -> Quantiles:
        """The quantile function at a path under "application", "revolving" or "history"."""
        group = self.facts["application"]["revolving"] if part == "revolving" else self.facts[part]
        values = group
        for key in path:
            values = values[key]
        return Quantiles(_normal_scores(group["quantile_levels"]), np.array(values))
