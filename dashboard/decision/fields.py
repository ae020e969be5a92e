"""What a person types about a client, and the model's features that follow from it.

What is asked, its labels and the ratios all come from the API's description of a client.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from dashboard.numbers import NotANumber, read_french
from dashboard.values import AMOUNT, DAYS, DAYS_PER_YEAR, SCORE, SHARE, digits, shown

Client = dict[str, float | None]

_APPLICATION = "application"  # the table of what is asked for
_CENT = 0.01  # the least amount of money
_OLDEST = 200  # years
_TIME = "des années, par exemple 32,5, ou une date comme 14/03/1990"
_DURATION = re.compile(r"(?:(?P<years>[^ a-z]+)\s*ans?)?\s*(?:(?P<months>[^ a-z]+)\s*mois)?")


@dataclass(frozen=True)
class Field:
    """One thing that is asked. A time is asked in years or as a date, and sent in negative days; a share is
    asked in per cent."""

    name: str
    label: str
    meaning: str
    unit: str
    table: str
    usual: tuple[float, float] | None
    may_be_unknown: bool

    @property
    def title(self) -> str:
        """The label, and in what it is asked."""
        if self.unit == DAYS:
            return f"{self.label} (années, ou date comme 14/03/1990)"
        unit = "%" if self.unit == SHARE else self.unit
        return f"{self.label} ({unit})" if unit else self.label

    def read(self, text: str, today: date) -> float | None:
        """None for an empty text. Raises NotANumber, also for what the thing can never be."""
        if self.unit == DAYS:
            return _days(text, self.label, today)
        if self.unit == SHARE:
            percent = read_french(text.replace("%", ""), self.label)
            return None if percent is None else percent / 100
        value = read_french(text, self.label)
        if value is not None and (wanted := self._impossible(value)):
            raise NotANumber(f"«\u00a0{self.label}\u00a0»\u00a0: écrivez {wanted}.")
        return value

    def _impossible(self, value: float) -> str:
        """What it must be, where it is not; empty where it is."""
        if self.unit == AMOUNT and self.table == _APPLICATION and value < _CENT:
            return "un montant au-dessus de zéro"
        if self.unit == AMOUNT and value < 0:
            return "un montant, zéro au moins"
        if self.unit == SCORE and not 0 <= value <= 1:
            return "un nombre de 0 à 1"
        return ""

    def written(self, value: float | None) -> str:
        """The value as it is typed, rounded as everywhere on the page."""
        if value is None:
            return ""
        return shown(value, self.unit) if self.unit == DAYS else digits(value, self.unit)


def asked(schema: Mapping[str, Any]) -> list[Field]:
    """What a person is asked for a client of this schema: no ratio, but what ratios are made of."""
    features = schema["properties"]
    fields = [_field(name, one) for name, one in features.items() if "x-ratio" not in one]
    terms: dict[str, Field] = {}
    for feature in features.values():
        ratio = feature.get("x-ratio", {"labels": {}})
        use = f"Sert à calculer «\u00a0{feature.get('title', '')}\u00a0»."
        terms |= {
            name: Field(name, label, use, AMOUNT, _APPLICATION, None, _admits_null(feature))
            for name, label in ratio["labels"].items()
        }
    return [field for name, field in terms.items() if name not in features] + fields


def _field(name: str, feature: Mapping[str, Any]) -> Field:
    unit = feature.get("x-unit", "")
    low_high = feature.get("x-usual")
    return Field(
        name,
        feature.get("title", name),
        feature.get("description", ""),
        unit,
        feature.get("x-table", ""),
        (low_high[0], low_high[1]) if low_high else None,
        _admits_null(feature),
    )


def _admits_null(feature: Mapping[str, Any]) -> bool:
    return "null" in feature["type"]


def completed(typed: Mapping[str, float | None], schema: Mapping[str, Any]) -> Client:
    """What is typed, with the ratios that follow from it. A ratio of something unknown is unknown."""
    features = schema["properties"]
    ratios = {name: one["x-ratio"] for name, one in features.items() if "x-ratio" in one}
    return {**typed, **{name: quotient(one, typed) for name, one in ratios.items()}}


def quotient(ratio: Mapping[str, Any], values: Mapping[str, float | None]) -> float | None:
    """The ratio as the service computes it, rounded half up. Raises NotANumber where there is none."""
    above, below = values.get(ratio["numerator"]), values.get(ratio["denominator"])
    if above is None or below is None:
        return None
    if ratio["days_per_year"]:
        below = abs(below) / ratio["days_per_year"]
    below += ratio["epsilon"] or 0
    label = ratio["labels"].get(ratio["denominator"], ratio["denominator"])
    if not below:
        raise NotANumber(f"«\u00a0{label}\u00a0»\u00a0: zéro n’est pas possible ici.")
    scale = 10.0 ** ratio["decimals"]
    scaled = above / below * scale
    if not math.isfinite(scaled):
        raise NotANumber(f"«\u00a0{label}\u00a0»\u00a0: ce nombre est trop petit.")
    return math.floor(scaled + 0.5) / scale


def _days(text: str, label: str, today: date) -> float | None:
    """« 14/03/1990 », « 3 ans 4 mois », « 32,5 ans » or « 32,5 » as days before today, negative.

    Raises NotANumber.
    """
    typed = " ".join(text.lower().split())
    if not typed:
        return None
    if "/" in typed:
        return _lived(float((today - _date(typed, label)).days), label, "une date passée")
    found = _DURATION.fullmatch(typed)
    years = (found["years"], found["months"]) if found else (typed, None)
    spent = sum(
        (read_french(part or "0", label, _TIME) or 0) / per for part, per in zip(years, (1, 12), strict=True)
    )
    return _lived(round(spent * DAYS_PER_YEAR), label, "une durée positive, par exemple 32,5 ans")


def _lived(days: float, label: str, wanted: str) -> float:
    """As the service counts them, negative. Raises NotANumber."""
    if days < 0:
        raise NotANumber(f"«\u00a0{label}\u00a0»\u00a0: écrivez {wanted}.")
    if days > _OLDEST * DAYS_PER_YEAR:
        raise NotANumber(f"«\u00a0{label}\u00a0»\u00a0: écrivez {_OLDEST} ans au plus.")
    return 0.0 - days


def _date(typed: str, label: str) -> date:
    try:
        return datetime.strptime(typed, "%d/%m/%Y").date()
    except ValueError as error:
        raise NotANumber(f"«\u00a0{label}\u00a0»\u00a0: écrivez une date comme 14/03/1990.") from error
