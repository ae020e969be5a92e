"""Explains one decision: the decision itself, what each feature adds to it, reasons and warnings in words."""

import math
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from explain import contributions, guard_rails, loans, offer_sentences, offers, population, reasons
from explain.contributions import NotExact
from explain.guard_rails import Caution
from explain.leaves import Leaves, TooManyLeaves
from explain.loans import INCOME
from explain.search import CannotTell, Question
from explain.tariff import PLAUSIBLE, Tariff
from features.identities import TOO_LARGE
from mlflow_model.bundle.scoring import Scorer
from mlflow_model.errors import CannotExplain

_versions: "weakref.WeakKeyDictionary[Scorer, _Known]" = weakref.WeakKeyDictionary()


def of(
    scorer: Scorer, client: Mapping[str, Any], decision: Mapping[str, Any], tariff: Tariff = PLAUSIBLE
) -> dict[str, Any]:
    """The explanation of a decision that the scorer has made about this client.

    `tariff`: the loans that may be offered. Raises CannotExplain.
    """
    if not hasattr(scorer, "contributions"):
        raise CannotExplain
    values = [math.nan if client[name] is None else float(client[name]) for name in scorer.features]
    try:
        found = contributions.of_row(scorer, values, decision["probability_class_1"])
    except NotExact as error:
        raise CannotExplain from error
    known, by_name, income = _known(scorer), dict(zip(scorer.features, values, strict=True)), _income(client)
    points = found.points
    speaking_for, against = reasons.of(scorer.features, values, points, known.population)
    cautions = guard_rails.of(
        {**by_name, INCOME: income}, decision["probability_class_1"], scorer.policy, known.population
    )
    loan = loans.loan_of(by_name, income)
    question = None
    if known.leaves is not None:
        question = Question(scorer, known.leaves, known.population, loan, tariff)
    return {
        "decision": dict(decision),
        "base_log_odds": found.base,
        "log_odds": found.log_odds,
        "contributions": [
            {"feature": name, "value": client[name], "log_odds": part, "points": its_points}
            for name, part, its_points in zip(scorer.features, found.of_each, points, strict=True)
        ],
        "reasons": {
            "for": [asdict(one) for one in speaking_for],
            "against": [asdict(one) for one in against],
        },
        "warnings": [asdict(one) for one in cautions],
        "offers": _offers(question, decision["prediction"], cautions),
    }


def _income(client: Mapping[str, Any]) -> float:
    """The client's own, which no model of ours has as a feature; NaN where it is not told."""
    income: Any = client.get(INCOME)
    return float(income) if type(income) in (int, float) and 0 < income < TOO_LARGE else math.nan


def _offers(question: Question | None, label: str, cautions: Sequence[Caution]) -> dict[str, Any]:
    if any(one.code == guard_rails.BROKEN_IDENTITY for one in cautions):
        return offers.none(offer_sentences.CONTRADICTORY)
    if question is None:
        return offers.none(offer_sentences.NOT_SEARCHED)
    try:
        return offers.of(question, label)
    except CannotTell:
        return offers.none(offer_sentences.NOT_SEARCHED)


class _Known:
    """What explanations need of a version, each read once. `leaves`: None where they cannot be searched."""

    def __init__(self, scorer: Scorer) -> None:
        self.population = population.of_facts(scorer.population)
        self.leaves = _leaves(scorer)


def _known(scorer: Scorer) -> _Known:
    found = _versions.get(scorer)
    if found is None:
        found = _versions[scorer] = _Known(scorer)
    return found


def _leaves(scorer: Scorer) -> Leaves | None:
    text: str | None = getattr(scorer, "model_text", None)  # which bundles of one day had not
    try:
        return None if text is None else Leaves.of_text(text)
    except TooManyLeaves:
        return None
