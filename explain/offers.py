"""What would change a decision: the cheapest ways to a better one, or the proof that there is none."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from explain import loans, offer_sentences
from explain.loans import LEVERS, WORSE, Lever
from explain.search import CannotTell, Change, Extreme, Question, Wanted

MOST = 3
_MUCH_CHEAPER = 0.8


class _Searched(NamedTuple):
    """What was found at all amounts of some levers. `changes`: the cheapest one to each wanted decision."""

    levers: Sequence[Lever]
    ranges: Mapping[str, tuple[float, float]]
    points: int
    extreme: Extreme | None
    changes: Mapping[Wanted, Change]


def none(sentence: str) -> dict[str, Any]:
    """No offers, and why."""
    return {"sentence": sentence, "found": [], "worse": None, "searched": []}


def of(question: Question, label: str) -> dict[str, Any]:
    """The offers to a client who has got this label, as they are answered. Raises CannotTell."""
    if not any(map(loans.depends_on_a_lever, question.scorer.features)):
        return none(offer_sentences.NO_LEVERS)
    is_reliable = label == question.scorer.policy.reliable
    levers = question.levers(WORSE if is_reliable else LEVERS)
    if not levers:
        return none(offer_sentences.NOTHING_KNOWN)
    return _worse(question, levers) if is_reliable else _better(question, levers, label)


def _better(question: Question, levers: Sequence[Lever], label: str) -> dict[str, Any]:
    """Up to MOST offers of a reliable decision. To a risky client of the grey zone, if there is no other."""
    policy = question.scorer.policy
    wanted = [Wanted(policy.lower_bound)]
    if label == policy.risky:
        wanted.append(Wanted(math.nextafter(policy.upper_bound, math.inf)))
    combinations = [*((lever,) for lever in levers), *loans.pairs(levers)]
    searched = [_searched(question, combination, wanted) for combination in combinations]
    offers = list[dict[str, Any]]()
    for one in wanted:
        offers = offers or [_offer(question, one, change) for change in _cheapest(searched, one)]
    points = sum(one.points for one in searched)
    extremes = [one.extreme for one in searched if one.extreme is not None]
    lowest = min(extremes, key=lambda one: one.probability, default=None)
    sentences = [offer_sentences.found(one["prediction"], len(offers)) for one in offers[:1]]
    if not any(wanted[0] in one.changes for one in searched):
        sentences.insert(0, offer_sentences.impossible(policy.reliable, points, lowest, question.loan))
    return {
        "sentence": " ".join(sentences),
        "found": offers,
        "worse": None,
        "searched": [*map(_proof, searched)],
    }


def _worse(question: Question, levers: Sequence[Lever]) -> dict[str, Any]:
    """How far the nearest change for the worse is."""
    policy = question.scorer.policy
    wanted = Wanted(policy.lower_bound, is_below=False)
    searched = [_searched(question, (lever,), [wanted]) for lever in levers]
    changes = [one.changes[wanted] for one in searched if wanted in one.changes]
    points, proof = sum(one.points for one in searched), [*map(_proof, searched)]
    if not changes:
        return {**none(offer_sentences.no_worse(policy.reliable, points)), "searched": proof}
    nearest = min(changes, key=lambda change: change.cost)
    return {
        "sentence": offer_sentences.reliable(policy.reliable, points, nearest.cost),
        "found": [],
        "worse": _offer(question, wanted, nearest),
        "searched": proof,
    }


def _searched(question: Question, levers: Sequence[Lever], wanted: Sequence[Wanted]) -> _Searched:
    landscape = question.landscape(levers)
    changes = {one: landscape.cheapest(one) for one in wanted}
    return _Searched(
        levers,
        landscape.ranges,
        landscape.points,
        landscape.extreme(is_lowest=wanted[0].is_below),
        {one: change for one, change in changes.items() if change is not None},
    )


def _cheapest(searched: Sequence[_Searched], wanted: Wanted) -> list[Change]:
    """Up to MOST changes, the cheapest first. Two levers must be much cheaper than either of them alone."""
    found = {one.levers: one.changes[wanted] for one in searched if wanted in one.changes}
    useful = [
        change
        for levers, change in found.items()
        if len(levers) == 1
        or all(change.cost < _MUCH_CHEAPER * found[lever,].cost for lever in levers if (lever,) in found)
    ]
    return sorted(useful, key=lambda change: change.cost)[:MOST]


def _offer(question: Question, wanted: Wanted, change: Change) -> dict[str, Any]:
    """The change, and the model's own decision on it. Raises CannotTell if that is another one."""
    loan, scorer = question.loan, question.scorer
    client = question.client(change.amounts)
    decision = scorer.decide(client)
    if not wanted.holds(float(decision["probability_class_1"])):
        raise CannotTell
    label = str(decision["prediction"])
    return {
        "change": {
            column: {"from": loan.amount(column), "to": amount} for column, amount in change.amounts.items()
        },
        "sentence": offer_sentences.changed(change, loan, label),
        "client": client,
        "prediction": label,
    }


def _proof(searched: _Searched) -> dict[str, Any]:
    extreme = searched.extreme
    return {
        "levers": [lever.name for lever in searched.levers],
        "ranges": {column: {"from": low, "to": high} for column, (low, high) in searched.ranges.items()},
        "points": searched.points,
        "extreme": None
        if extreme is None
        else {"amounts": dict(extreme.amounts), "probability_class_1": extreme.probability},
    }
