"""The warnings about one client, each as a sentence (explain/guard_rails.py says when there is one)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from explain import guard_rails, wording
from explain.guard_rails import BROKEN_IDENTITY, NEAR_A_BOUND, OUT_OF_RANGE, Columns
from explain.population import Distribution, Population
from explain.wording import NO_BREAK
from features.identities import IDENTITIES
from mlflow_model.bundle.scoring import DecisionPolicy

_FORMULAS = {
    "CREDIT_TERM": "le montant du crédit divisé par l’échéance",
    "ANNUITY_BIRTH_RATIO": "l’échéance divisée par l’âge en années de 365 jours",
    "ANNUITY_INCOME_PERCENT": "l’échéance divisée par le revenu",
    "CREDIT_GOODS_RATIO": "le montant du crédit divisé par le prix du bien",
}


@dataclass(frozen=True)
class Caution:
    """`code`: one of guard_rails.CODES. `feature`: None where the decision itself is meant."""

    code: str
    feature: str | None
    sentence: str


def of(
    values: Mapping[str, float], probability: float, policy: DecisionPolicy, population: Population
) -> list[Caution]:
    """What somebody should look at. `values`: the client's, by feature; NaN is a missing value."""
    columns = {feature: np.array([value]) for feature, value in values.items()}
    warned = guard_rails.of(columns, np.array([probability]), policy, population)
    meant = [(code, feature) for code, feature, holds in warned if holds[0]]
    return [
        Caution(NEAR_A_BOUND, None, _near_a_bound(probability, policy))
        if feature is None
        else Caution(code, feature, _of_feature(code, feature, columns, population))
        for code, feature in meant
    ]


def _of_feature(code: str, feature: str, columns: Columns, population: Population) -> str:
    if code == BROKEN_IDENTITY:
        return _broken_identity(feature, columns)
    if code == OUT_OF_RANGE:
        return _out_of_range(feature, columns[feature].item(), population[feature])
    return _rare_null(feature, population[feature])


def _out_of_range(feature: str, value: float, others: Distribution) -> str:
    words, (low, high) = wording.of(feature), others.ends
    beyond = value > high
    said, end = wording.apart(words, value, high if beyond else low)
    ends = (words.said(low), end) if beyond else (end, words.said(high))
    least, most = reversed(ends) if words.descends else ends
    return _sentence(f"{words.noun} de {said}, hors de ce que l’entraînement a vu, de {least} à {most}.")


def _rare_null(feature: str, others: Distribution) -> str:
    return _sentence(f"{wording.of(feature).unknown}, ce qui est rare ({wording.clients(others.missing)}).")


def _broken_identity(feature: str, columns: Columns) -> str:
    words, expected = wording.of(feature), guard_rails.expected(IDENTITIES[feature], columns)
    said, other = wording.apart(words, columns[feature].item(), expected.item())
    return _sentence(f"{words.noun} de {said}, alors que {_FORMULAS[feature]} donne {other}.")


def _near_a_bound(probability: float, policy: DecisionPolicy) -> str:
    bound = min((policy.lower_bound, policy.upper_bound), key=lambda one: abs(probability - one))
    found, limit = (f"{wording.number(100 * one, 2)}{NO_BREAK}%" for one in (probability, bound))
    near = f"probabilité de défaut de {found}, tout près de la borne de {limit}"
    return _sentence(f"{near}{NO_BREAK}: un petit écart changerait la décision.")


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
