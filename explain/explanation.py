"""Explains one decision: the decision itself, what each feature adds to it, reasons and warnings in words."""

import math
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from explain import cautions, contributions, loans, offer_sentences, offers, population, reasons
from explain.cautions import Caution
from explain.contributions import Contributions, NotExact
from explain.guard_rails import BROKEN_IDENTITY
from explain.leaves import Leaves, TooManyLeaves
from explain.loans import INCOME, Loan
from explain.population import Population
from explain.search import CannotTell, Question
from explain.tariff import PLAUSIBLE, Tariff
from features.identities import TOO_LARGE
from mlflow_model.bundle.scoring import Scorer
from mlflow_model.errors import BadData, CannotExplain

_searchable: "weakref.WeakKeyDictionary[Scorer, Leaves | None]" = weakref.WeakKeyDictionary()


def of(
    scorer: Scorer, client: Mapping[str, Any], decision: Mapping[str, Any], tariff: Tariff = PLAUSIBLE
) -> dict[str, Any]:
    """The explanation of a decision that the scorer has made about this client.

    `tariff`: the loans that may be offered. Raises CannotExplain, or BadData for an income that is none.
    """
    if not hasattr(scorer, "contributions"):
        raise CannotExplain
    values = {name: math.nan if client[name] is None else float(client[name]) for name in scorer.features}
    income = values[INCOME] if INCOME in values else _income(client)
    others = population.of_scorer(scorer)
    probability = decision["probability_class_1"]
    try:
        found = contributions.of_row(scorer, [*values.values()], probability)
    except NotExact as error:
        raise CannotExplain from error
    warnings = cautions.of({INCOME: income, **values}, probability, scorer.policy, others)
    return {
        "decision": dict(decision),
        **_contributions(found, client, scorer.features),
        "reasons": _reasons(found, values, others),
        "warnings": [asdict(one) for one in warnings],
        "offers": _offers(
            _question(scorer, loans.loan_of(values, income), tariff), decision["prediction"], warnings
        ),
    }


def _contributions(
    found: Contributions, client: Mapping[str, Any], features: Sequence[str]
) -> dict[str, Any]:
    return {
        "base_log_odds": found.base,
        "log_odds": found.log_odds,
        "contributions": [
            {"feature": name, "value": client[name], "log_odds": part, "points": its_points}
            for name, part, its_points in zip(features, found.of_each, found.points, strict=True)
        ],
    }


def _reasons(found: Contributions, values: Mapping[str, float], others: Population) -> dict[str, Any]:
    speaking_for, against = reasons.of([*values], [*values.values()], found.points, others)
    return {
        "for": [asdict(one) for one in speaking_for],
        "against": [asdict(one) for one in against],
    }


def _income(client: Mapping[str, Any]) -> float:
    """What is told beside the model's features; NaN where it is not. Raises BadData."""
    income: Any = client.get(INCOME)
    if income is None:
        return math.nan
    if not (type(income) in (int, float) and loans.LEAST_AMOUNT <= income < TOO_LARGE):
        raise BadData(f"'{INCOME}' doit être un montant positif, ou ne pas être donné")
    return float(income)


def _question(scorer: Scorer, loan: Loan, tariff: Tariff) -> Question | None:
    """None where the model cannot be searched."""
    leaves = _leaves(scorer)
    if leaves is None:
        return None
    return Question(scorer, leaves, population.of_scorer(scorer), loan, tariff)


def _offers(question: Question | None, label: str, warnings: Sequence[Caution]) -> dict[str, Any]:
    if any(one.code == BROKEN_IDENTITY for one in warnings):
        return offers.none(offer_sentences.CONTRADICTORY)
    if question is None:
        return offers.none(offer_sentences.NOT_SEARCHED)
    try:
        return offers.of(question, label)
    except (CannotTell, MemoryError):
        return offers.none(offer_sentences.NOT_SEARCHED)


def _leaves(scorer: Scorer) -> Leaves | None:
    """Read once for each version. None where there are too many, or the version's code tells too little."""
    if scorer not in _searchable:
        tells_all = hasattr(scorer, "log_odds_per_score")
        try:
            _searchable[scorer] = Leaves.of_text(scorer.model_text) if tells_all else None
        except TooManyLeaves:
            _searchable[scorer] = None
    return _searchable[scorer]
