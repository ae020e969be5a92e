"""What would change a decision: the cheapest ways to a better one, or the proof that there is none."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from explain import loans, offer_sentences
from explain.loans import LEVERS, WORSE, Lever
from explain.search import CannotTell, Change, Extreme, Landscape, Question, Wanted

MOST = 3
_MUCH_CHEAPER = 0.8


class _Searched(NamedTuple):
    """What was found at all amounts of some levers. `changes`: the cheapest one to each wanted decision."""

    levers: Sequence[Lever]
    ranges: Mapping[str, tuple[float, float]]
    examined: int
    possible: int
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
    levers = [*question.loan.levers(WORSE if is_reliable else LEVERS)]
    if not levers:
        return none(offer_sentences.NOTHING_KNOWN)
    return _worse(question, levers) if is_reliable else _better(question, levers, label)


def _better(question: Question, levers: Sequence[Lever], label: str) -> dict[str, Any]:
    """Up to MOST offers of a reliable decision. To a risky client of the grey zone, if there is no other."""
    policy = question.scorer.policy
    reliable, not_risky = Wanted(policy.lower_bound), Wanted(math.nextafter(policy.upper_bound, math.inf))
    wanted = [reliable, not_risky] if label == policy.risky else [reliable]
    alone = _searched(question, [(lever,) for lever in levers], wanted)
    pairs = _worth_searching(question, levers, _costs(alone, reliable))
    searched = [*alone, *_searched(question, pairs, wanted)]
    aim, sentences = reliable, list[str]()
    changes = _cheapest(searched, aim)
    if not changes:
        if len(searched) < len(levers) + len(pairs):
            raise CannotTell
        lowest = min(
            (one.extreme for one in searched if one.extreme), key=lambda one: one.probability, default=None
        )
        possible = sum(one.possible for one in searched)
        examined = sum(one.examined for one in searched)
        sentences = [offer_sentences.impossible(policy.reliable, examined, possible, lowest, question.loan)]
        aim = not_risky
        changes = _cheapest(searched, aim)
    offers = [_offer(question, aim, change) for change in changes]
    if offers:
        sentences.append(offer_sentences.found(offers[0]["prediction"], len(offers)))
    return {**none(" ".join(sentences)), "found": offers, "searched": [*map(_proof, searched)]}


def _worse(question: Question, levers: Sequence[Lever]) -> dict[str, Any]:
    """How far the nearest change for the worse is."""
    policy = question.scorer.policy
    not_reliable = Wanted(policy.lower_bound, is_below=False)
    searched = _searched(question, [(lever,) for lever in levers], [not_reliable])
    if len(searched) < len(levers):
        raise CannotTell
    changes = [one.changes[not_reliable] for one in searched if not_reliable in one.changes]
    # The amounts beyond it may be grey or risky: it is said alone.
    nearest = min(changes, key=lambda change: change.cost, default=None)
    worse = None if nearest is None else _offer(question, not_reliable, nearest._replace(up_to=None))
    possible = sum(one.possible for one in searched)
    sentence = offer_sentences.reliable(policy.reliable, possible, nearest and nearest.cost)
    return {**none(sentence), "worse": worse, "searched": [*map(_proof, searched)]}


def _worth_searching(
    question: Question, levers: Sequence[Lever], costs: Mapping[str, float]
) -> list[Sequence[Lever]]:
    """Pairs of levers, no farther than they would be offered. `costs`: of each lever alone, by its name."""
    found = list[Sequence[Lever]]()
    for pair in loans.pairs(levers):
        most = min((_MUCH_CHEAPER * costs[lever.name] for lever in pair if lever.name in costs), default=1.0)
        near = [lever.within(most) for lever in pair]
        if all(len(lever.amounts(question.loan.amount(lever.column))) for lever in near):
            found.append(near)
    return found


def _searched(
    question: Question, combinations: Sequence[Sequence[Lever]], wanted: Sequence[Wanted]
) -> list[_Searched]:
    """What was found for each combination of levers. Without those whose scores cannot be had."""
    found = []
    for levers in combinations:
        with contextlib.suppress(CannotTell):
            found.append(_found(question.landscape(levers), wanted))
    return found


def _costs(searched: Sequence[_Searched], wanted: Wanted) -> dict[str, float]:
    """What the cheapest change to a wanted decision costs with one lever alone, by the lever's name."""
    return {
        one.levers[0].name: one.changes[wanted].cost
        for one in searched
        if wanted in one.changes and len(one.levers) == 1
    }


def _found(landscape: Landscape, wanted: Sequence[Wanted]) -> _Searched:
    changes = {one: landscape.cheapest(one) for one in wanted}
    return _Searched(
        landscape.levers,
        landscape.ranges,
        landscape.log_odds.size,
        landscape.possible,
        landscape.extreme(is_lowest=wanted[0].is_below),
        {one: change for one, change in changes.items() if change is not None},
    )


def _cheapest(searched: Sequence[_Searched], wanted: Wanted) -> list[Change]:
    """Up to MOST changes, the cheapest first, each of other amounts.

    Two levers must be much cheaper than either of them alone.
    """
    alone = _costs(searched, wanted)
    useful = [
        one.changes[wanted]
        for one in searched
        if wanted in one.changes and (len(one.levers) == 1 or _is_much_cheaper(one, wanted, alone))
    ]
    chosen: dict[frozenset[str], Change] = {}
    for change in sorted(useful, key=lambda one: one.cost):
        chosen.setdefault(frozenset(change.amounts), change)
    return [*chosen.values()][:MOST]


def _is_much_cheaper(pair: _Searched, wanted: Wanted, alone: Mapping[str, float]) -> bool:
    return all(
        pair.changes[wanted].cost < _MUCH_CHEAPER * alone.get(lever.name, math.inf) for lever in pair.levers
    )


def _offer(question: Question, wanted: Wanted, change: Change) -> dict[str, Any]:
    """The change, and the model's own decision on it. Raises CannotTell if it is not a wanted one."""
    loan, client = question.loan, question.client(change.amounts)
    decision = question.scorer.decide(client)
    if not wanted.holds(decision["probability_class_1"]):
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
        "digits": min(lever.digits for lever in searched.levers),
        "ranges": {column: {"from": low, "to": high} for column, (low, high) in searched.ranges.items()},
        "examined": searched.examined,
        "possible": searched.possible,
        "extreme": extreme and {"amounts": dict(extreme.amounts), "probability_class_1": extreme.probability},
    }
