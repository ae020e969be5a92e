"""Explains one decision: the decision itself, what each feature adds to it, reasons and warnings in words."""

import math
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from explain import cautions, contributions, loans, offer_sentences, offers, population, reasons
from explain.cautions import Caution
from explain.contributions import NotExact
from explain.guard_rails import BROKEN_IDENTITY
from explain.leaves import Leaves, TooManyLeaves
from explain.loans import INCOME
from explain.search import CannotTell, Question
from explain.tariff import PLAUSIBLE, Tariff
from features.identities import TOO_LARGE
from mlflow_model.bundle.scoring import Scorer
from mlflow_model.errors import CannotExplain

_searchable: "weakref.WeakKeyDictionary[Scorer, Leaves | None]" = weakref.WeakKeyDictionary()


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
    by_name, income = dict(zip(scorer.features, values, strict=True)), _income(client)
    points, others = found.points, population.of_scorer(scorer)
    speaking_for, against = reasons.of(scorer.features, values, points, others)
    warnings = cautions.of(
        {**by_name, INCOME: income}, decision["probability_class_1"], scorer.policy, others
    )
    leaves, question = _leaves(scorer), None
    if leaves is not None:
        question = Question(scorer, leaves, others, loans.loan_of(by_name, income), tariff)
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
        "warnings": [asdict(one) for one in warnings],
        "offers": _offers(question, decision["prediction"], warnings),
    }


def _income(client: Mapping[str, Any]) -> float:
    """The client's own, which no model of ours has as a feature; NaN where it is not told."""
    income: Any = client.get(INCOME)
    return float(income) if type(income) in (int, float) and 0 < income < TOO_LARGE else math.nan


def _offers(question: Question | None, label: str, warnings: Sequence[Caution]) -> dict[str, Any]:
    if any(one.code == BROKEN_IDENTITY for one in warnings):
        return offers.none(offer_sentences.CONTRADICTORY)
    if question is None:
        return offers.none(offer_sentences.NOT_SEARCHED)
    try:
        return offers.of(question, label)
    except CannotTell:
        return offers.none(offer_sentences.NOT_SEARCHED)


def _leaves(scorer: Scorer) -> Leaves | None:
    """Read once for each version. None where it has too many, or had no text for us, as those of one day."""
    if scorer not in _searchable:
        text: str | None = getattr(scorer, "model_text", None)
        try:
            _searchable[scorer] = None if text is None else Leaves.of_text(text)
        except TooManyLeaves:
            _searchable[scorer] = None
    return _searchable[scorer]
