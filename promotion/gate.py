"""Compares two models on a reference portfolio: what would change if the candidate became champion.

Costs follow the rule of `quality.costs`. Outcomes are the clients' true default probabilities if the
portfolio has them (TRUE_PROBABILITY), else what became of them (TARGET). If it has neither, costs are not
known.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from promotion.portfolio import TARGET, TRUE_PROBABILITY, BadReference, Portfolio
from quality.bootstrap import interval_of_mean
from quality.costs import Costs
from quality.scores import Doubles

if TYPE_CHECKING:
    from mlflow_model.bundle.trial import Answers

MOST_CHANGED = 10
DEFAULT_COSTS = Costs()


@dataclass(frozen=True)
class Limits:
    """How far a candidate may go without an objection. A value equal to its limit is allowed.

    `changed`: share of clients with another label. `cost_increase`: per client. `clients`: the fewest
    different clients. `left_out`: share of the portfolio's clients who cannot be compared.
    """

    changed: float = 0.10
    cost_increase: float = 0.002
    clients: int = 1_000
    left_out: float = 0.05


@dataclass(frozen=True)
class Decisions:
    """One model's decisions on the compared clients. `cost` is per client, None if outcomes are not known."""

    probabilities: Doubles
    labels: np.ndarray[Any, Any]
    cost: Doubles | None

    def share(self, label: str) -> float:
        return float((self.labels == label).mean())


@dataclass(frozen=True)
class Change:
    """A figure under the champion and the candidate. `low` and `high` bound the difference, if known."""

    name: str
    champion: float
    candidate: float
    low: float = math.nan
    high: float = math.nan

    @property
    def difference(self) -> float:
        return self.candidate - self.champion


@dataclass(frozen=True)
class Difference:
    """What differs between two models on the compared clients. `moves[from, to]` counts clients by labels.

    `most_changed` holds row numbers among the compared clients. `left_out` counts clients with a missing
    value that one of the models does not accept. `distinct` counts clients who differ in a feature of either
    model. `added` and `removed` are features, `answered` and `unanswered` columns of the decision, that only
    the candidate or only the champion has.
    """

    clients: int
    distinct: int
    left_out: int
    labels: tuple[str, ...]
    moves: dict[tuple[str, str], int]
    changes: list[Change]
    champion: Decisions
    candidate: Decisions
    most_changed: list[int]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    answered: tuple[str, ...] = ()
    unanswered: tuple[str, ...] = ()

    @property
    def changed(self) -> float:
        """The share of clients whose label changes."""
        return sum(count for (before, after), count in self.moves.items() if before != after) / self.clients

    @property
    def cost(self) -> Change | None:
        return next((change for change in self.changes if change.name == "cost per client"), None)

    def objections(self, limits: Limits) -> list[str]:
        """Why the candidate should be promoted only if somebody gives a reason."""
        found = []
        if self.distinct < limits.clients:
            found.append(f"{self.distinct:,} different clients are compared, fewer than {limits.clients:,}")
        if not (share := self.left_out / (self.clients + self.left_out)) <= limits.left_out:
            found.append(f"{share:.1%} of the clients are left out, more than {limits.left_out:.1%}")
        if not self.changed <= limits.changed:
            found.append(f"{self.changed:.1%} of the labels change, more than {limits.changed:.1%}")
        cost = self.cost
        if cost is None:
            found.append(f"the cost is not known: the reference has neither {TRUE_PROBABILITY} nor {TARGET}")
        elif not cost.difference <= limits.cost_increase:
            found.append(
                f"the cost per client rises by {cost.difference:.4f} [{cost.low:.4f}, {cost.high:.4f}], "
                f"more than {limits.cost_increase:g}"
            )
        if self.added:
            found.append(f"callers would have to send {', '.join(self.added)}")
        if self.removed:
            found.append(f"the candidate leaves out {', '.join(self.removed)}")
        if self.answered:
            found.append(f"callers would get {', '.join(self.answered)} too")
        if self.unanswered:
            found.append(f"callers would no longer get {', '.join(self.unanswered)}")
        return found


def usable_costs(stated: object) -> Costs | None:
    """The costs that a policy's provenance states; None unless they are two positive numbers."""
    if not isinstance(stated, Mapping):
        return None
    found: dict[str, Any] = {name: stated.get(name) for name in asdict(DEFAULT_COSTS)}
    is_usable = all(type(cost) in (int, float) and 0 < cost < math.inf for cost in found.values())
    return Costs(**{name: float(cost) for name, cost in found.items()}) if is_usable else None


def compare(
    champion: "Answers",
    candidate: "Answers",
    portfolio: Portfolio,
    costs: Costs = DEFAULT_COSTS,
) -> Difference:
    """Compare two models' answers to this portfolio, on the clients whom both accept. Raises BadReference.

    A model does not accept a client who lacks a value that it needs.
    """
    outcome = portfolio.outcome
    for answers in (champion, candidate):
        portfolio.require(answers.features)
        if answers.refusal is not None:
            raise BadReference(f"a model cannot decide on the reference portfolio: {answers.refusal}")
    accepted = champion.accepted & candidate.accepted
    if not accepted.any():
        raise BadReference("no client of the reference portfolio is accepted by both models")
    outcome = None if outcome is None else outcome[accepted]
    before, after = (_decisions(answers, accepted, outcome, costs) for answers in (champion, candidate))
    labels = tuple(dict.fromkeys(champion.labels + candidate.labels))
    moves = {
        (one, other): int(((before.labels == one) & (after.labels == other)).sum())
        for one in labels
        for other in labels
    }
    features = dict.fromkeys(champion.features + candidate.features)
    return Difference(
        clients=len(before.labels),
        distinct=_distinct([portfolio.columns[name][accepted] for name in features]),
        left_out=int((~accepted).sum()),
        labels=labels,
        moves=moves,
        changes=_changes(champion, candidate, before, after, outcome),
        champion=before,
        candidate=after,
        most_changed=_most_changed(before, after, labels),
        added=tuple(name for name in candidate.features if name not in champion.features),
        removed=tuple(name for name in champion.features if name not in candidate.features),
        answered=tuple(name for name in candidate.columns if name not in champion.columns),
        unanswered=tuple(name for name in champion.columns if name not in candidate.columns),
    )


def _distinct(columns: list[Doubles]) -> int:
    """The number of different rows. By their bytes: NumPy's `unique` treats two NaN as different."""
    return len({row.tobytes() for row in np.column_stack(columns)})


def _decisions(
    answers: "Answers",
    accepted: np.ndarray[Any, np.dtype[np.bool_]],
    outcome: Doubles | None,
    costs: Costs,
) -> Decisions:
    probabilities = answers.probabilities[accepted]
    cost = None if outcome is None else costs.of_each(probabilities, answers.threshold, outcome)
    return Decisions(probabilities, answers.predictions[accepted], cost)


def _changes(
    one: "Answers",
    other: "Answers",
    before: Decisions,
    after: Decisions,
    outcome: Doubles | None,
) -> list[Change]:
    changes = [
        Change("approved", before.share(one.reliable), after.share(other.reliable)),
        Change("grey", before.share(one.uncertain), after.share(other.uncertain)),
        Change("refused", before.share(one.risky), after.share(other.risky)),
        Change(
            "mean default probability", float(before.probabilities.mean()), float(after.probabilities.mean())
        ),
    ]
    if outcome is None or before.cost is None or after.cost is None:
        return changes
    defaults = [
        float(outcome[decisions.labels == label].mean()) if decisions.share(label) else math.nan
        for decisions, label in ((before, one.reliable), (after, other.reliable))
    ]
    _, low, high = interval_of_mean(after.cost - before.cost, seed=0)
    return [
        *changes,
        Change("default rate of the approved", *defaults),
        Change("cost per client", float(before.cost.mean()), float(after.cost.mean()), low, high),
    ]


def _most_changed(before: Decisions, after: Decisions, labels: tuple[str, ...]) -> list[int]:
    """The rows of the most changed clients: by how far the label moves, then how far the probability does."""
    places = {label: place for place, label in enumerate(labels)}
    steps = np.abs([places[after.labels[row]] - places[label] for row, label in enumerate(before.labels)])
    distance = np.abs(after.probabilities - before.probabilities)
    order = np.lexsort((-distance, -steps))[:MOST_CHANGED]
    return [int(row) for row in order if steps[row] or distance[row]]
