"""The reference clients as the served version decides on them: read and scored once for a version."""

import functools
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from api.delivery.served import Model
from api.reference.errors import NoReference, ReferenceLacksFeatures, ReferenceUnusable
from api.settings import Settings
from mlflow_model.bundle.scoring import DecisionPolicy, Doubles, Scorer
from quality.portfolio import BadReference, LacksFeatures, Portfolio

MOST_CLIENTS = 50_000  # who are scored, evenly spaced: resampling more of them takes too long

_Score = Callable[[Model, Path, tuple[int, ...]], "Scored"]

_log = logging.getLogger("scoring_client")


@dataclass(frozen=True, eq=False)
class Scored:
    """`numbers`: where each of these n clients stands in the portfolio, from 1. `zones`: 0 reliable, 1 grey,
    2 risky.

    `matrix`: of shape (n, features), NaN for a missing value. `outcome`: of each, 1 for a default, or its
    probability; None if the portfolio tells none. `left_out`: how many lack a value that the version needs.
    """

    model: Model
    portfolio: Portfolio
    numbers: npt.NDArray[np.intp]
    matrix: Doubles
    probabilities: Doubles
    zones: npt.NDArray[np.int64]
    outcome: Doubles | None
    left_out: int

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def scorer(self) -> Scorer:
        return self.model.scorer

    def of(self, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What a column of the portfolio holds of these clients."""
        return column[self.numbers - 1]


def by(model: Model) -> Scored:
    """The clients of REFERENCE. Raises NoReference, ReferenceUnusable or ReferenceLacksFeatures."""
    file = Settings.from_environment().reference
    try:
        found = file.stat()
    except FileNotFoundError as error:
        raise NoReference from error
    except OSError as error:
        raise _unusable(error.strerror or type(error).__name__) from error
    return _scored(model, file, (found.st_ino, found.st_mtime_ns, found.st_size))


def _remembering_refusals(score: _Score) -> _Score:
    """Keep a refusal, too, until something is another: a bad file would be read for each question."""
    refused: dict[tuple[object, ...], Exception] = {}

    @functools.wraps(score)
    def scored(model: Model, file: Path, state: tuple[int, ...]) -> Scored:
        key = (model.digest, file, state)
        if key in refused:
            raise refused[key]
        try:
            return score(model, file, state)
        except (ReferenceUnusable, ReferenceLacksFeatures) as error:
            refused.clear()
            refused[key] = error
            raise

    return scored


@_remembering_refusals
@functools.lru_cache(maxsize=1)
def _scored(model: Model, file: Path, state: tuple[int, ...]) -> Scored:
    """`state`: of the file, which may be another one the next time."""
    try:
        portfolio = _read(file, state)
        portfolio.require(model.scorer.features)
        outcome = portfolio.outcome
    except LacksFeatures as error:
        raise ReferenceLacksFeatures(error.features) from error
    except BadReference as error:
        raise _unusable(str(error)) from error
    accepted = _accepted(portfolio, model.scorer)
    numbers = accepted[:: math.ceil(len(accepted) / MOST_CLIENTS)]
    table = {name: portfolio.columns[name][numbers - 1] for name in model.scorer.features}
    for name, values in table.items():
        if not _has_a_width(values):
            raise _unusable(f"the numbers in {name} are too far apart for a double")
    probabilities, zones = _decided(model.scorer, table)
    return Scored(
        model,
        portfolio,
        numbers,
        np.column_stack([*table.values()]),
        probabilities,
        zones,
        None if outcome is None else outcome[numbers - 1],
        len(portfolio) - len(accepted),
    )


@functools.lru_cache(maxsize=1)
def _read(file: Path, state: tuple[int, ...]) -> Portfolio:
    return Portfolio.read(file)


def _accepted(portfolio: Portfolio, scorer: Scorer) -> npt.NDArray[np.intp]:
    """The numbers of the clients who have all values that the version needs. Raises ReferenceUnusable."""
    needed = [name for name in scorer.features if name not in scorer.nullable]
    numbers = np.flatnonzero(portfolio.complete(needed)) + 1
    if not len(numbers):
        raise _unusable(f"no client has all of {', '.join(needed)}")
    return numbers


def _has_a_width(values: Doubles) -> bool:
    """Whether the distance of the largest from the least is a number."""
    known = values[~np.isnan(values)]
    return not len(known) or math.isfinite(float(known.max()) - float(known.min()))


def _decided(scorer: Scorer, table: dict[str, Doubles]) -> tuple[Doubles, npt.NDArray[np.int64]]:
    """Probabilities and zones. Raises ReferenceUnusable."""
    try:
        decisions = scorer.decide_table(table)
    except scorer.Refusal as error:
        raise _unusable(f"the version refuses it: {error.detail}") from error
    probabilities = np.asarray(decisions["probability_class_1"], dtype=np.float64)
    return probabilities, _zones(scorer.policy, decisions["prediction"])


def zones_by(policy: DecisionPolicy, probabilities: Doubles) -> npt.NDArray[np.int64]:
    """By a policy of the version's own code, which may have rules of its own. Raises ReferenceUnusable."""
    return _zones(policy, policy.decisions(probabilities)["prediction"])


def _zones(policy: DecisionPolicy, labels: npt.ArrayLike) -> npt.NDArray[np.int64]:
    given = np.asarray(labels, dtype=object)
    known = np.array([given == label for label in (policy.reliable, policy.uncertain, policy.risky)])
    if not known.any(axis=0).all():
        raise _unusable("the version gives other labels than its policy has")
    return known.argmax(axis=0)


def _unusable(why: str) -> ReferenceUnusable:
    _log.error("REFERENCE cannot be used: %s", why)
    return ReferenceUnusable()
