"""Warnings about a client's values: what the training has not seen, and what contradicts itself.

A warning is never a refusal. The decision stands; somebody should look at the values.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from explain import wording
from explain.population import Population
from explain.wording import NO_BREAK
from features.identities import IDENTITIES, TOO_LARGE, Ratio
from mlflow_model.bundle.scoring import DecisionPolicy

OUT_OF_RANGE, BROKEN_IDENTITY, RARE_NULL, NEAR_A_BOUND = (
    "out_of_range",
    "broken_identity",
    "rare_null",
    "near_a_bound",
)
CODES = (OUT_OF_RANGE, BROKEN_IDENTITY, RARE_NULL, NEAR_A_BOUND)
_RARE = 0.01
_NEAR = 0.005
_FORMULAS = {
    "CREDIT_TERM": "le montant du crédit divisé par l’échéance",
    "ANNUITY_BIRTH_RATIO": "l’échéance divisée par l’âge en années",
    "ANNUITY_INCOME_PERCENT": "l’échéance divisée par le revenu",
    "CREDIT_GOODS_RATIO": "le montant du crédit divisé par le prix du bien",
}


@dataclass(frozen=True)
class Caution:
    """`code`: one of CODES. `feature`: None where the decision itself is meant."""

    code: str
    feature: str | None
    sentence: str


def of(
    values: Mapping[str, float], probability: float, policy: DecisionPolicy, population: Population
) -> list[Caution]:
    """What somebody should look at. `values`: the client's, by feature; NaN is a missing value."""
    return [
        *_unseen(values, population),
        *_contradictions(values),
        *_near_a_bound(probability, policy),
    ]


def _unseen(values: Mapping[str, float], population: Population) -> Iterator[Caution]:
    for feature, value in values.items():
        others = population.get(feature)
        if others is None:
            continue
        words = wording.of(feature)
        if math.isnan(value):
            if others.missing < _RARE:
                rare = f"{words.unknown}, ce qui est rare ({wording.clients(others.missing)})."
                yield Caution(RARE_NULL, feature, _sentence(rare))
            continue
        low, high = others.ends
        if not low <= value <= high:
            beyond = value > high
            said, end = wording.apart(words, value, high if beyond else low)
            ends = (words.said(low), end) if beyond else (end, words.said(high))
            least, most = reversed(ends) if words.descends else ends
            seen = f"hors de ce que l’entraînement a vu, de {least} à {most}"
            yield Caution(OUT_OF_RANGE, feature, _sentence(f"{words.noun} de {said}, {seen}."))


def _contradictions(values: Mapping[str, float]) -> Iterator[Caution]:
    """Features that are not what the features say of which they are made."""
    for feature, identity in IDENTITIES.items():
        expected = _expected(identity, values)
        given = values.get(feature, math.nan)
        if expected is None or math.isnan(given) or identity.holds(given, expected):
            continue
        words = wording.of(feature)
        said, other = wording.apart(words, given, expected)
        tied = f"{words.noun} de {said}, alors que {_FORMULAS[feature]} donne {other}."
        yield Caution(BROKEN_IDENTITY, feature, _sentence(tied))


def _expected(identity: Ratio, values: Mapping[str, float]) -> float | None:
    """The quotient, not rounded; None where a term is not known, or there is no quotient to speak of."""
    if identity.numerator not in values or not values.get(identity.denominator):
        return None
    above, below = identity.terms(values)
    expected = above / below if below else math.nan
    return expected if abs(expected) < TOO_LARGE else None


def _near_a_bound(probability: float, policy: DecisionPolicy) -> Iterator[Caution]:
    bound = min((policy.lower_bound, policy.upper_bound), key=lambda one: abs(probability - one))
    if abs(probability - bound) <= _NEAR:
        found, limit = (f"{wording.number(100 * one, 2)}{NO_BREAK}%" for one in (probability, bound))
        near = f"probabilité de défaut de {found}, tout près de la borne de {limit}"
        near += f"{NO_BREAK}: un petit écart changerait la décision."
        yield Caution(NEAR_A_BOUND, None, _sentence(near))


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
