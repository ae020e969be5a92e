"""Searches all amounts of one lever, or of two, for the cheapest change that gives another decision.

The search looks at each point of the lattice: what it does not find is not there. Its scores are sums in
another order than LightGBM's. Where that could matter, the model itself is asked.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from explain import lattice, loans
from explain.leaves import ClientLeaves, Flags, Leaves, Numbers
from explain.loans import Lever, Loan
from explain.population import Population
from explain.tariff import Tariff
from mlflow_model.bundle.scoring import Doubles, Scorer

_IN_DOUBT, _RELATIVE_ERROR = 1e-9, 1e-12  # of log-odds around a bound, and of the sums
_FEW = 100


class CannotTell(Exception):
    """The scores cannot be had without asking the model about each point."""


class Wanted(NamedTuple):
    """The decisions that are looked for: those on a default probability below the bound, or all others."""

    bound: float
    is_below: bool = True

    def holds(self, probability: Any) -> Any:
        """Of one default probability, or of each in an array."""
        return (probability < self.bound) == self.is_below

    @property
    def log_odds(self) -> float:
        """The bound in log-odds. No probability is below 0, or above 1."""
        if 0.0 < self.bound < 1.0:
            return math.log(self.bound) - math.log1p(-self.bound)
        return math.inf if self.bound >= 1.0 else -math.inf


class Change(NamedTuple):
    """What becomes of the amounts, by column. `cost`: the sum of their relative changes.

    `up_to`: with one lever, the farthest amount up to which all give a wanted decision as well.
    """

    amounts: Mapping[str, float]
    cost: float
    up_to: float | None = None


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

    @functools.cached_property
    def _client_leaves(self) -> ClientLeaves:
        places = (place for place, name in enumerate(self.scorer.features) if loans.depends_on_a_lever(name))
        return self.leaves.of_client(self.row, places)

    def landscape(self, levers: Sequence[Lever]) -> "Landscape":
        """All amounts of one lever, or of two. Raises CannotTell."""
        amounts = {
            lever.column: lever.amounts(self.loan.amount(lever.column)).reshape(shape)
            for lever, shape in zip(reversed(levers), ((1, -1), (-1, 1)), strict=False)
        }
        moved = self.loan.moved(amounts)
        places = {self.scorer.features.index(name): np.asarray(values) for name, values in moved.items()}
        if any((places[place] == 0.0).any() for place in self.leaves.zero_is_missing & places.keys()):
            raise CannotTell
        scores = lattice.scores(self._client_leaves, places)
        is_offered = np.ones(scores.shape, np.bool_)
        is_offered &= self.loan.is_sold(amounts, self.tariff)
        for feature, values in moved.items():
            is_offered &= self._is_seen(feature, np.asarray(values))
        return Landscape(
            self,
            levers,
            amounts,
            places,
            self.scorer.log_odds_per_score * scores,
            is_offered,
        )

    def _is_seen(self, feature: str, values: Doubles) -> Flags:
        """Whether values lie between the ends of the training's, or no farther out than the client's own."""
        others, now = self.population.get(feature), self.loan.values[feature]
        if others is None:
            return np.ones((1, 1), np.bool_)
        low, high = others.ends
        return (values >= min(low, now)) & (values <= max(high, now))

    def probabilities(self, rows: Doubles) -> Doubles:
        """The model's own. Few are asked for one by one: a call for a table takes milliseconds."""
        if len(rows) > _FEW:
            return self.scorer.probabilities(rows)
        clients = (dict(zip(self.scorer.features, row, strict=True)) for row in rows.tolist())
        return np.array([self.scorer.decide(client)["probability_class_1"] for client in clients])

    def client(self, amounts: Mapping[str, float]) -> dict[str, float | None]:
        """The client with these amounts instead, and all that follows from them."""
        values = {**self.loan.values, **self.loan.moved(amounts)}
        return {name: None if math.isnan(value) else float(value) for name, value in values.items()}


@dataclass(frozen=True, eq=False)
class Landscape:
    """The log-odds of default at all amounts of some levers, and whether such a loan is offered.

    Of shape (rows, columns). `amounts`: by column, of shape (rows, 1) or (1, columns). `moved`: by the place
    of a feature in the model's order, its values, of a shape that NumPy broadcasts to that.
    """

    question: Question
    levers: Sequence[Lever]
    amounts: Mapping[str, Doubles]
    moved: Mapping[int, Doubles]
    log_odds: Doubles
    is_offered: Flags

    @property
    def possible(self) -> int:
        """How many of the points are offered."""
        return int(np.count_nonzero(self.is_offered))

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """The least and the greatest amount, by column."""
        return {
            column: (float(amounts.min()), float(amounts.max())) for column, amounts in self.amounts.items()
        }

    def extreme(self, *, is_lowest: bool) -> Extreme | None:
        """None where no loan is offered."""
        if not self.possible:
            return None
        upwards = self.log_odds if is_lowest else -self.log_odds
        point = int(np.where(self.is_offered, upwards, math.inf).argmin())
        [probability] = self._probabilities(np.array([point])).tolist()
        return Extreme(self._amounts_at(point), probability)

    def cheapest(self, wanted: Wanted) -> Change | None:
        """The cheapest change to a wanted decision. None: there is none."""
        gives = self._gives(wanted)
        if not gives.any():
            return None
        point = int(np.where(gives, self._cost, math.inf).argmin())
        up_to = self._up_to(gives[0], point) if len(self.levers) == 1 else None
        return Change(self._amounts_at(point), float(self._cost.flat[point]), up_to)

    @functools.cached_property
    def _cost(self) -> Doubles:
        """The relative change at each point."""
        now = self.question.loan.amount
        return np.asarray(sum(abs(amounts / now(column) - 1.0) for column, amounts in self.amounts.items()))

    def _gives(self, wanted: Wanted) -> Flags:
        """Where the decision is a wanted one, and the loan is offered."""
        is_below = self.log_odds <= wanted.log_odds - self._error
        is_above = self.log_odds >= wanted.log_odds + self._error
        gives = (is_below if wanted.is_below else is_above) & self.is_offered
        in_doubt = np.flatnonzero(~(is_below | is_above) & self.is_offered)
        if len(in_doubt):
            gives.flat[in_doubt] = wanted.holds(self._probabilities(in_doubt))
        return gives

    @property
    def _error(self) -> float:
        """More than the scores can differ from LightGBM's, in log-odds."""
        question = self.question
        largest = question.leaves.largest_sum * abs(question.scorer.log_odds_per_score)
        return max(_IN_DOUBT, _RELATIVE_ERROR * largest)

    def _probabilities(self, points: Numbers) -> Doubles:
        """The model's own, of points by their places in the flat lattice."""
        rows = self.question.row[None].repeat(len(points), axis=0)
        for place, values in self.moved.items():
            rows[:, place] = self._at(points, values)
        return self.question.probabilities(rows)

    def _amounts_at(self, point: int) -> dict[str, float]:
        return {lever.column: float(self._at(point, self.amounts[lever.column])) for lever in self.levers}

    def _at(self, points: Any, values: Doubles) -> Any:
        """The values at points of the flat lattice. What has one row, or one column, is the same in all."""
        rows, columns = divmod(points, self.log_odds.shape[1])
        return values[rows % values.shape[0], columns % values.shape[1]]

    def _up_to(self, gives: Flags, point: int) -> float:
        """How far beyond the nearest amount all amounts give a wanted decision as well."""
        [(column, amounts)] = self.amounts.items()
        is_up = amounts[0, point] > self.question.loan.amount(column)
        beyond = np.arange(point, len(gives)) if is_up else np.arange(point, -1, -1)
        fails = np.flatnonzero(~gives[beyond])
        return float(amounts[0, beyond[fails[0] - 1] if len(fails) else beyond[-1]])
