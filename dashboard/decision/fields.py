"""What a person types about a client, and the model's features that follow from it.

What is asked, its labels and the ratios all come from the API's description of a client.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from dashboard.numbers import NotANumber, read_french, write_french

Client = dict[str, float | None]

_DAYS = "jours négatifs"
_DAYS_PER_YEAR = 365  # as the service counts an age
_DURATION = re.compile(r"(?:(?P<years>[^ a-z]+)\s*ans?)?\s*(?:(?P<months>[^ a-z]+)\s*mois)?")


@dataclass(frozen=True)
class Field:
    """One thing that is asked. `is_time`: asked in years or as a date, sent in negative days."""

    name: str
    label: str
    meaning: str
    unit: str
    table: str
    usual: tuple[float, float] | None
    is_time: bool
    may_be_unknown: bool

    def read(self, text: str, today: date) -> float | None:
        """None for an empty text. Raises NotANumber."""
        return _days(text, self.label, today) if self.is_time else read_french(text, self.label)

    def written(self, value: float | None) -> str:
        """The text that is read back as this value."""
        if value is None:
            return ""
        return f"{write_french(_years(value))} ans" if self.is_time else write_french(value)


def asked(schema: Mapping[str, Any]) -> list[Field]:
    """What a person is asked for a client of this schema: no ratio, but what ratios are made of."""
    features = schema["properties"]
    terms: dict[str, tuple[str, bool]] = {}
    for feature in features.values():
        ratio = feature.get("x-ratio", {"labels": {}})
        terms |= {name: (label, _admits_null(feature)) for name, label in ratio["labels"].items()}
    fields = [_field(name, one) for name, one in features.items() if "x-ratio" not in one]
    more = [
        Field(name, label, "", "unité monétaire", "application", None, False, unknown)
        for name, (label, unknown) in terms.items()
        if name not in features
    ]
    return more + fields


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
        unit == _DAYS,
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
    """The ratio as the service computes it, rounded half up. Raises NotANumber where it divides by zero."""
    above, below = values.get(ratio["numerator"]), values.get(ratio["denominator"])
    if above is None or below is None:
        return None
    if ratio["days_per_year"]:
        below = abs(below) / ratio["days_per_year"]
    below += ratio["epsilon"] or 0
    if not below:
        raise NotANumber(
            f"«\u00a0{ratio['labels'][ratio['denominator']]}\u00a0»\u00a0: zéro n’est pas possible ici."
        )
    scale = 10.0 ** ratio["decimals"]
    return math.floor(above / below * scale + 0.5) / scale


def _days(text: str, label: str, today: date) -> float | None:
    """« 14/03/1990 », « 3 ans 4 mois », « 32,5 ans » or « 32,5 » as days before today, negative."""
    typed = " ".join(text.lower().split())
    if not typed:
        return None
    if "/" in typed:
        return float((_date(typed, label) - today).days)
    found = _DURATION.fullmatch(typed)
    years = (found["years"], found["months"]) if found else (typed, None)
    spent = sum(
        (read_french(part or "0", label) or 0) / per for part, per in zip(years, (1, 12), strict=True)
    )
    if spent < 0:
        raise NotANumber(f"«\u00a0{label}\u00a0»\u00a0: écrivez une durée positive, par exemple 32,5 ans.")
    return -float(round(spent * _DAYS_PER_YEAR))


def _years(days: float) -> float:
    """With as few decimals as are read back as the same whole days, which four always are."""
    rounded = [round(-days / _DAYS_PER_YEAR, decimals) for decimals in range(5)]
    return next((years for years in rounded if round(years * _DAYS_PER_YEAR) == -days), rounded[-1])


def _date(typed: str, label: str) -> date:
    try:
        return datetime.strptime(typed, "%d/%m/%Y").date()
    except ValueError as error:
        raise NotANumber(f"«\u00a0{label}\u00a0»\u00a0: écrivez une date comme 14/03/1990.") from error
