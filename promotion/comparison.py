"""Compares two models on a reference portfolio: what would change if the candidate took the other's place.

Costs follow the rule of `quality.costs`. Outcomes are the clients' true default probabilities if the
portfolio has them (TRUE_PROBABILITY), else what became of them (TARGET). If it has neither, cost,
discrimination and calibration are not known.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from features.catalogue import CATALOGUE
from quality import bootstrap, costs, groups, measures, paired
from quality.bootstrap import Summed
from quality.costs import Costs
from quality.portfolio import BadReference, LacksFeatures, Portfolio
from quality.scores import Doubles

if TYPE_CHECKING:
    from mlflow_model.bundle.trial import Answers

MOST_CHANGED = 10
APPROVED, COST, AUC, CALIBRATION = "approved", "cost per client", "AUC", "calibration error (ECE)"
APPROVAL_RATIO, OPPORTUNITY_GAP = "approval ratio by ", "equal opportunity gap by "  # and an attribute
_SEED = 0
_MADE_OF_RAW_TABLES = "python -m training.reference --data-dir DIR --out FILE makes one of your raw tables"
_OF_OTHERS = "--reference FILE takes one that has a column for each feature of the versions compared"

_Labels = npt.NDArray[Any]
_Pair = tuple[Summed, Summed]


@dataclass(frozen=True)
class Decisions:
    """One model's decisions on the compared clients. `cost` is per client, None if outcomes are not known."""

    probabilities: Doubles
    labels: _Labels
    approved: npt.NDArray[np.bool_]
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

    def __str__(self) -> str:
        return f"{self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


@dataclass(frozen=True)
class Difference:
    """What differs between two models on the compared clients. `moves[from, to]` counts clients by labels.

    `most_changed` holds places among the compared clients, `rows` where each of these stands in the
    portfolio, from 1. `left_out` counts clients with a missing value that one of the models does not accept,
    `refused` says which model and which features these are.
    `distinct` counts clients who differ in a feature of either model. `added` and `removed` are features,
    `answered` and `unanswered` columns of the decision, that only the candidate or only the champion has.
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
    rows: npt.NDArray[np.intp]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    answered: tuple[str, ...] = ()
    unanswered: tuple[str, ...] = ()
    refused: str = ""

    @property
    def changed(self) -> float:
        """The share of clients whose label changes."""
        return sum(count for (before, after), count in self.moves.items() if before != after) / self.clients

    def change(self, name: str) -> Change | None:
        return next((change for change in self.changes if change.name == name), None)

    @property
    def cost(self) -> Change | None:
        return self.change(COST)


def compare(
    champion: "Answers",
    candidate: "Answers",
    portfolio: Portfolio,
    by: Costs = costs.DEFAULT,
    names: tuple[str, str] = ("the champion", "the candidate"),
) -> Difference:
    """Compare two models' answers to this portfolio, on the clients whom both accept. Raises BadReference.

    A model does not accept a client who lacks a value that it needs. `names`: what to call the two models.
    """
    accepted, refused = _accepted_by_both(names, (champion, candidate), portfolio)
    outcome = None if portfolio.outcome is None else portfolio.outcome[accepted]
    attributes = {attribute: names[accepted] for attribute, names in portfolio.attributes.items()}
    before, after = (_decisions(answers, accepted, outcome, by) for answers in (champion, candidate))
    labels = tuple(dict.fromkeys(champion.labels + candidate.labels))
    features = dict.fromkeys(champion.features + candidate.features)
    return Difference(
        clients=len(before.labels),
        distinct=_distinct([portfolio.columns[name][accepted] for name in features]),
        left_out=int((~accepted).sum()),
        labels=labels,
        moves=_moves(before.labels, after.labels, labels),
        changes=_changes(champion, candidate, before, after, outcome, attributes),
        champion=before,
        candidate=after,
        most_changed=_most_changed(before, after, labels),
        rows=np.flatnonzero(accepted) + 1,
        added=tuple(name for name in candidate.features if name not in champion.features),
        removed=tuple(name for name in champion.features if name not in candidate.features),
        answered=tuple(name for name in candidate.columns if name not in champion.columns),
        unanswered=tuple(name for name in champion.columns if name not in candidate.columns),
        refused=refused,
    )


def _accepted_by_both(
    names: tuple[str, str], models: tuple["Answers", "Answers"], portfolio: Portfolio
) -> tuple[npt.NDArray[np.bool_], str]:
    """Of each client whether both models accept it, and why others are not accepted. Raises BadReference."""
    for name, answers in zip(names, models, strict=True):
        _require(answers.features, portfolio)
        if answers.refusal is not None:
            raise BadReference(f"{name} cannot decide on the reference portfolio: {answers.refusal}")
    accepted = models[0].accepted & models[1].accepted
    refused = _refused(dict(zip(names, models, strict=True)), portfolio)
    if not accepted.any():
        raise BadReference(f"no client of the reference portfolio is accepted by both models{refused}")
    return accepted, refused


def _require(features: Sequence[str], portfolio: Portfolio) -> None:
    """Raises BadReference, which tells the way out, unless the portfolio has these features."""
    try:
        portfolio.require(features)
    except LacksFeatures as error:
        is_of_raw_tables = {feature.name for feature in CATALOGUE}.issuperset(error.features)
        way_out = _MADE_OF_RAW_TABLES if is_of_raw_tables else _OF_OTHERS
        raise BadReference(f"{error}; {way_out}") from error


def _refused(models: "Mapping[str, Answers]", portfolio: Portfolio) -> str:
    """Which model accepts no missing value of which features that clients lack; the end of a sentence."""
    needed = {name: _needed_and_missing(answers, portfolio) for name, answers in models.items()}
    said = [
        f"{name} accepts no missing value of {', '.join(features)}"
        for name, features in needed.items()
        if features
    ]
    return f": {'; '.join(said)}" if said else ""


def _needed_and_missing(answers: "Answers", portfolio: Portfolio) -> list[str]:
    """The features that some clients lack and the model needs; first those that most clients lack."""
    needed = (name for name in answers.features if name not in answers.nullable)
    lacking = {name: int(np.isnan(portfolio.columns[name]).sum()) for name in needed}
    return [name for name in sorted(lacking, key=lacking.__getitem__, reverse=True) if lacking[name]]


def _distinct(columns: list[Doubles]) -> int:
    """The number of different rows. By their bytes: NumPy's `unique` treats two NaN as different."""
    return len({row.tobytes() for row in np.column_stack(columns)})


def _moves(before: _Labels, after: _Labels, labels: tuple[str, ...]) -> dict[tuple[str, str], int]:
    return {
        (one, other): int(((before == one) & (after == other)).sum()) for one in labels for other in labels
    }


def _decisions(
    answers: "Answers",
    accepted: npt.NDArray[np.bool_],
    outcome: Doubles | None,
    by: Costs,
) -> Decisions:
    probabilities, labels = answers.probabilities[accepted], answers.predictions[accepted]
    cost = None if outcome is None else by.of_each(probabilities, answers.threshold, outcome)
    return Decisions(probabilities, labels, np.asarray(labels == answers.reliable, dtype=bool), cost)


# ---- The figures


def _changes(
    one: "Answers",
    other: "Answers",
    before: Decisions,
    after: Decisions,
    outcome: Doubles | None,
    attributes: dict[str, _Labels],
) -> list[Change]:
    approved, *others = _with_intervals(before, after, outcome, attributes)
    means = (float(decisions.probabilities.mean()) for decisions in (before, after))
    return [
        approved,
        Change("grey", before.share(one.uncertain), after.share(other.uncertain)),
        Change("refused", before.share(one.risky), after.share(other.risky)),
        Change("mean default probability", *means),
        *([] if outcome is None else [_defaults_of_approved(before, after, outcome)]),
        *others,
    ]


def _with_intervals(
    before: Decisions, after: Decisions, outcome: Doubles | None, attributes: dict[str, _Labels]
) -> list[Change]:
    """The figures that the gate asks about, as far as the portfolio tells them: first what is approved."""
    pairs = {
        APPROVED: (bootstrap.mean(before.approved), bootstrap.mean(after.approved)),
        **_of_outcomes(before, after, outcome),
        **_of_groups(before, after, outcome, attributes),
    }
    found = paired.compare(pairs, _SEED)
    if outcome is not None:
        found[AUC] = paired.auc(outcome, before.probabilities, after.probabilities)
    return [
        Change(name, one.before, one.after, one.difference.low, one.difference.high)
        for name, one in found.items()
    ]


def _of_outcomes(before: Decisions, after: Decisions, outcome: Doubles | None) -> dict[str, _Pair]:
    if outcome is None or before.cost is None or after.cost is None:
        return {}
    return {
        COST: (bootstrap.mean(before.cost), bootstrap.mean(after.cost)),
        CALIBRATION: (
            measures.calibration(outcome, before.probabilities),
            measures.calibration(outcome, after.probabilities),
        ),
    }


def _of_groups(
    before: Decisions, after: Decisions, outcome: Doubles | None, attributes: dict[str, _Labels]
) -> dict[str, _Pair]:
    """By each attribute of which at least two groups are large enough."""
    found: dict[str, _Pair] = {}
    for attribute, names in attributes.items():
        large = groups.large(names)
        if len(large) < 2:
            continue
        found[f"{APPROVAL_RATIO}{attribute}"] = (
            groups.approval_ratio(names, large, before.approved),
            groups.approval_ratio(names, large, after.approved),
        )
        if outcome is not None:
            found[f"{OPPORTUNITY_GAP}{attribute}"] = (
                groups.opportunity_gap(names, large, before.approved, outcome),
                groups.opportunity_gap(names, large, after.approved, outcome),
            )
    return found


def _defaults_of_approved(before: Decisions, after: Decisions, outcome: Doubles) -> Change:
    rates = (
        float(outcome[decisions.approved].mean()) if decisions.approved.any() else math.nan
        for decisions in (before, after)
    )
    return Change("default rate of the approved", *rates)


def _most_changed(before: Decisions, after: Decisions, labels: tuple[str, ...]) -> list[int]:
    """The places of the most changed: by how far the label moves, then how far the probability does."""
    places = {label: place for place, label in enumerate(labels)}
    steps = np.abs([places[after.labels[row]] - places[label] for row, label in enumerate(before.labels)])
    distance = np.abs(after.probabilities - before.probabilities)
    order = np.lexsort((-distance, -steps))[:MOST_CHANGED]
    return [int(row) for row in order if steps[row] or distance[row]]
