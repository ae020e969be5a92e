"""Searches all amounts of one lever, or of two, for the cheapest change that gives another decision.

The search looks at each point of the lattice: what it does not find is not there. Its scores are sums in
another order than LightGBM's. Where that could matter, the model itself is asked.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from explain import lattice
from explain.leaves import Flags, Leaves
from explain.loans import Lever, Loan
from explain.population import Population
from explain.tariff import Tariff
from mlflow_model.bundle.scoring import Doubles, Scorer

_IN_DOUBT = 1e-9  # of log-odds, around a bound
_MOST_IN_DOUBT = 2_000


class CannotTell(Exception):
    """Too many points lie so near to the bound that only the model can tell."""


class Wanted(NamedTuple):
    """The decisions that are looked for: those on a default probability below the bound, or all others."""

    bound: float
    is_below: bool = True

    def holds(self, probability: float) -> bool:
        return (probability < self.bound) == self.is_below

    @property
    def log_odds(self) -> float:
        """The bound in log-odds. No probability is below 0, or above 1."""
        if 0.0 < self.bound < 1.0:
            return math.log(self.bound) - math.log1p(-self.bound)
        return math.inf if self.bound >= 1.0 else -math.inf


class Change(NamedTuple):
    """What becomes of the amounts, by column. `cost`: the sum of their relative changes.

    `reach`: with one lever, the amounts from the nearest to the farthest one up to which all on the way give
    the wanted decision as well. `is_open`: these are all that the lever can reach.
    """

    amounts: Mapping[str, float]
    cost: float
    reach: tuple[float, float] | None = None
    is_open: bool = False


class Extreme(NamedTuple):
    """The lowest or the highest default probability that levers can reach, and where."""

    amounts: Mapping[str, float]
    probability: float


@dataclass(frozen=True, eq=False)
class Question:
    """A client, the loan that the values describe, who decides, and which other loans there are."""

    scorer: Scorer
    leaves: Leaves
    population: Population
    loan: Loan
    tariff: Tariff

    @functools.cached_property
    def row(self) -> Doubles:
        return np.array([self.loan.values[name] for name in self.scorer.features])

    def levers(self, among: Sequence[Lever]) -> list[Lever]:
        """Those that this client can move, and this model follows."""
        return [
            lever for lever in self.loan.levers(among) if len(lever.amounts(self.loan.amount(lever.column)))
        ]

    def landscape(self, levers: Sequence[Lever]) -> "Landscape":
        """All amounts of one lever, or of two. Raises CannotTell."""
        amounts = {
            lever.column: lever.amounts(self.loan.amount(lever.column)).reshape(shape)
            for lever, shape in zip(reversed(levers), ((1, -1), (-1, 1)), strict=False)
        }
        moved = self.loan.moved(amounts)
        places = {self.scorer.features.index(name): np.asarray(values) for name, values in moved.items()}
        if any(
            (values == 0.0).any() and self.leaves.takes_zero_for_missing(place)
            for place, values in places.items()
        ):
            raise CannotTell
        scores = lattice.scores(self.leaves, self.row, places)
        is_offered = self.loan.is_sold(amounts, self.tariff)
        for feature, values in moved.items():
            is_offered = is_offered & self._is_seen(feature, np.asarray(values))
        return Landscape(
            self,
            levers,
            amounts,
            self.scorer.log_odds_per_leaf * scores,
            np.broadcast_to(is_offered, scores.shape),
        )

    def _is_seen(self, feature: str, values: Doubles) -> Flags:
        """Whether the training has seen such values, or none nearer to them than the client's own."""
        others, now = self.population.get(feature), self.loan.values[feature]
        if others is None:
            return np.ones((1, 1), np.bool_)
        low, high = others.ends
        return (values >= min(low, now)) & (values <= max(high, now))

    def client(self, amounts: Mapping[str, float]) -> dict[str, float | None]:
        """The client with these amounts instead, and all that follows from them."""
        values = {**self.loan.values, **self.loan.moved(amounts)}
        return {name: None if math.isnan(value) else float(value) for name, value in values.items()}


@dataclass(frozen=True, eq=False)
class Landscape:
    """The log-odds of default at all amounts of some levers, and whether such a loan is offered.

    Of shape (rows, columns). `amounts`: by column, of shape (rows, 1) or (1, columns).
    """

    question: Question
    levers: Sequence[Lever]
    amounts: Mapping[str, Doubles]
    log_odds: Doubles
    is_offered: Flags

    @property
    def points(self) -> int:
        """How many there are to look at."""
        return int(np.count_nonzero(self.is_offered))

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """The least and the greatest amount, by column."""
        return {
            column: (float(amounts.min()), float(amounts.max())) for column, amounts in self.amounts.items()
        }

    def extreme(self, *, is_lowest: bool) -> Extreme | None:
        """None where no loan is offered."""
        if not self.points:
            return None
        upwards = self.log_odds if is_lowest else -self.log_odds
        place = int(np.where(self.is_offered, upwards, math.inf).argmin())
        return Extreme(self._amounts_at(place), self._probability(place))

    def cheapest(self, wanted: Wanted) -> Change | None:
        """The cheapest change to a wanted decision. None: there is none. Raises CannotTell."""
        gives = self._gives(wanted)
        if not gives.any():
            return None
        place = int(np.where(gives, self._cost, math.inf).argmin())
        found = Change(self._amounts_at(place), float(self._cost.flat[place]))
        return found if len(self.levers) > 1 else self._with_reach(found, gives[0], place)

    @functools.cached_property
    def _cost(self) -> Doubles:
        """The relative change at each point."""
        now = self.question.loan.amount
        return np.asarray(sum(abs(amounts / now(column) - 1.0) for column, amounts in self.amounts.items()))

    def _gives(self, wanted: Wanted) -> Flags:
        """Where the decision is a wanted one, and the loan is offered."""
        distance = self.log_odds - wanted.log_odds
        gives = ((distance < 0.0) == wanted.is_below) & self.is_offered
        in_doubt = np.flatnonzero((abs(distance) < _IN_DOUBT) & self.is_offered)
        if len(in_doubt) > _MOST_IN_DOUBT:
            raise CannotTell
        for point in in_doubt.tolist():
            gives.flat[point] = wanted.holds(self._probability(point))
        return gives

    def _probability(self, point: int) -> float:
        """The model's own, of a point by its place in the lattice."""
        client = self.question.client(self._amounts_at(point))
        return float(self.question.scorer.decide(client)["probability_class_1"])

    def _amounts_at(self, point: int) -> dict[str, float]:
        at = {
            column: float(np.broadcast_to(amounts, self.log_odds.shape).flat[point])
            for column, amounts in self.amounts.items()
        }
        return {lever.column: at[lever.column] for lever in self.levers}

    def _with_reach(self, found: Change, gives: Flags, place: int) -> Change:
        """How far beyond the nearest amount all amounts give the wanted decision as well."""
        [(column, amounts)] = self.amounts.items()
        is_up = amounts[0, place] > self.question.loan.amount(column)
        beyond = np.arange(place, len(gives)) if is_up else np.arange(place, -1, -1)
        fails = np.flatnonzero(~gives[beyond])
        last = beyond[fails[0] - 1] if len(fails) else beyond[-1]
        return found._replace(
            reach=(float(amounts[0, place]), float(amounts[0, last])), is_open=not len(fails)
        )
