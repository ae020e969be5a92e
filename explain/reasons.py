"""The reasons of a decision: what speaks for and against the loan, group by group, as sentences.

Features that are tied to each other often pull both ways. They are summed in groups, so that no two reasons
of one group contradict each other.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from explain import wording
from explain.population import Distribution, Population
from explain.wording import NO_BREAK

MOST = 4
GROUPS: Mapping[str, tuple[str, ...]] = {
    "Scores externes": ("EXT_SOURCE_1", "EXT_SOURCE_2", "EXT_SOURCE_3"),
    "Crédit demandé": ("AMT_CREDIT", "AMT_GOODS_PRICE", "CREDIT_GOODS_RATIO", "CREDIT_TERM"),
    "Charge du crédit": ("AMT_ANNUITY", "ANNUITY_INCOME_PERCENT", "ANNUITY_BIRTH_RATIO"),
    "Crédits ailleurs": ("DEBT_CREDIT_RATIO",),
    "Crédits passés ici": (
        "INSTA_AMT_PAYMENT",
        "INSTA_NUM_INSTALMENT_VERSION",
        "POS_CNT_INSTALMENT_FUTURE",
        "PREV_CNT_PAYMENT",
    ),
    "Âge et papiers": ("DAYS_BIRTH", "DAYS_ID_PUBLISH", "DAYS_REGISTRATION"),
}
# With what a group's main feature adds its points, where it does not add them alone.
_OTHERS = {
    "Scores externes": "les autres scores externes",
    "Crédit demandé": "les autres montants du crédit",
    "Charge du crédit": "les autres mesures de cette charge",
    "Crédits passés ici": "les autres données de ces crédits",
    "Âge et papiers": "les autres dates",
}
_GROUP_OF = {feature: group for group, features in GROUPS.items() for feature in features}
_LEAST = 0.0005  # of probability: less would be said as « 0,0 point »
_NEAR_THE_MEDIAN = 0.6  # of the clients, at the most, have less, or more
_RARE = 0.01


@dataclass(frozen=True)
class Reason:
    """What one group of features adds to the default probability. `feature`: the one that adds most to it."""

    group: str
    feature: str
    points: float
    sentence: str


def of(
    features: Sequence[str], values: Sequence[float], points: Sequence[float], population: Population
) -> tuple[list[Reason], list[Reason]]:
    """The reasons for the loan and those against it, up to MOST each, the weightiest first.

    `points`: what each feature adds to the probability, in the order of `features`. NaN is a missing value.
    """
    found = _weighed(features, points)
    speaking_for = [one for one in found if one.points < 0][:MOST]
    against = [one for one in found if one.points > 0][:MOST]
    return _told(speaking_for, features, values, population), _told(against, features, values, population)


def weightiest(
    features: Sequence[str],
    values: Sequence[float],
    points: Sequence[float],
    population: Population,
    count: int,
) -> list[Reason]:
    """The first `count` reasons of both kinds, up to MOST: each is one of those that `of` tells."""
    return _told(_weighed(features, points)[: min(count, MOST)], features, values, population)


class _Group(NamedTuple):
    """What a group adds to the probability, and the place of the feature that adds most to that.

    `of_main`: what that feature adds.
    """

    name: str
    points: float
    main: int
    of_main: float


def _weighed(features: Sequence[str], points: Sequence[float]) -> list[_Group]:
    """The groups that are worth a word, the weightiest first."""
    found = []
    for group, members in _members(tuple(features)).items():
        total = math.fsum([points[place] for place in members])
        if abs(total) >= _LEAST:
            main = max(members, key=lambda place: math.copysign(1.0, total) * points[place])
            found.append(_Group(group, total, main, points[main]))
    return sorted(found, key=lambda one: -abs(one.points))


@functools.lru_cache(maxsize=8)
def _members(features: tuple[str, ...]) -> Mapping[str, Sequence[int]]:
    """The places of each group's features. A feature of no group is one of its own."""
    places: dict[str, list[int]] = {}
    for place, feature in enumerate(features):
        places.setdefault(_GROUP_OF.get(feature, feature), []).append(place)
    return places


def _told(
    groups: Sequence[_Group], features: Sequence[str], values: Sequence[float], population: Population
) -> list[Reason]:
    return [_reason(one, features[one.main], values[one.main], population) for one in groups]


def _reason(group: _Group, feature: str, value: float, population: Population) -> Reason:
    head = f"{group.name}{NO_BREAK}: " if group.name in GROUPS else ""
    standing, is_usual = _standing(feature, value, population.get(feature))
    sentence = f"{head}{standing}. {_effect(group, is_usual)}"
    return Reason(group.name, feature, group.points, sentence[0].upper() + sentence[1:])


def _effect(group: _Group, is_usual: bool) -> str:
    """The points are those of the group. And near the median a value alone explains nothing: its share counts
    it with all others of the client."""
    effect = f"risque {'augmente' if group.points > 0 else 'diminue'} de {wording.points(group.points)}."
    if group.name in _OTHERS and wording.points(group.points) != wording.points(group.of_main):
        return f"Avec {_OTHERS[group.name]}, le {effect}"
    return f"Avec les autres valeurs du dossier, le {effect}" if is_usual else f"Le {effect}"


def _standing(feature: str, value: float, others: Distribution | None) -> tuple[str, bool]:
    """The client's value, and where it stands among the others; and whether that is near the median."""
    words = wording.of(feature)
    if math.isnan(value):
        return _unknown(words.unknown, others), False
    said = f"{words.noun} de {words.said(value)}"
    if others is None:
        return said, False
    median = words.said(others.median)
    below, above = others.shares(value)
    if max(below, above) <= _NEAR_THE_MEDIAN or words.said(value) == median:
        return f"{said}, près de la médiane ({median})", True
    who = f"{wording.clients(above)} {words.more}"
    if below > above:
        who = f"{wording.clients(below)} {words.fewer}"
    return f"{said}, contre une médiane de {median}{NO_BREAK}; {who}", False


def _unknown(said: str, others: Distribution | None) -> str:
    if others is None:
        return said
    if others.missing < _RARE:
        return f"{said}, ce qui est rare ({wording.clients(others.missing)})"
    return f"{said}, comme pour {wording.clients(others.missing)}"
