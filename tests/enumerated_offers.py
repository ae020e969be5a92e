"""Every change of a client's loan, one by one: with formulas of its own, scored by the lightgbm package.

Of the project it takes the ends of what the training has seen, and nothing else.
"""

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

import lightgbm
import numpy as np

from explain.population import Population

CREDIT, ANNUITY, PRICE, INCOME = "AMT_CREDIT", "AMT_ANNUITY", "AMT_GOODS_PRICE", "AMT_INCOME_TOTAL"
MADE_OF = {
    CREDIT: {CREDIT},
    ANNUITY: {ANNUITY},
    PRICE: {PRICE},
    "CREDIT_TERM": {CREDIT, ANNUITY},
    "CREDIT_GOODS_RATIO": {CREDIT, PRICE},
    "ANNUITY_INCOME_PERCENT": {ANNUITY, INCOME},
    "ANNUITY_BIRTH_RATIO": {ANNUITY},
}
RANGES = {
    "less_credit": (CREDIT, 0.5, 1.0),
    "longer_term": (ANNUITY, 0.5, 1.0),
    "shorter_term": (ANNUITY, 1.0, 2.0),
    "cheaper_good": (PRICE, 0.5, 1.0),
    "more_income": (INCOME, 1.0, 2.0),
    "more_credit": (CREDIT, 1.0, 2.0),
    "dearer_good": (PRICE, 1.0, 2.0),
    "less_income": (INCOME, 0.5, 1.0),
}


class Best(NamedTuple):
    """How many changes there are, how many of them are loans, the least cost to the wanted side, and the
    extreme score.
    """

    examined: int
    possible: int
    cost: float | None
    extreme: float | None


class Enumeration:
    """The changes of one client. `values`: by feature, NaN where missing."""

    def __init__(
        self, booster: lightgbm.Booster, values: Mapping[str, float], income: float, population: Population
    ) -> None:
        self._booster, self._values = booster, values
        self._now = {**values, INCOME: income}
        self._seen = {
            feature: (min(low, values[feature]), max(high, values[feature]))
            for feature, (low, high) in ((one, others.ends) for one, others in population.items())
            if feature in values and not math.isnan(values[feature])
        }

    def best(self, levers: Sequence[str], bound: float, *, is_below: bool, digits: int = 3) -> Best:
        """`bound`: in log-odds."""
        rows, costs, examined = [], [], 0
        for examined, amounts in enumerate(self._changes(levers, digits), 1):  # noqa: B007 - counted
            row = self._row(amounts)
            if self._is_sold(amounts) and self._is_seen(row):
                rows.append(list(row.values()))
                costs.append(sum(abs(amount / self._now[column] - 1) for column, amount in amounts.items()))
        if not rows:
            return Best(examined, 0, None, None)
        scores = np.asarray(self._booster.predict(np.array(rows), raw_score=True, num_threads=1))
        wanted = np.array(costs)[(scores < bound) == is_below]
        extreme = scores.min() if is_below else scores.max()
        return Best(examined, len(rows), wanted.min() if len(wanted) else None, float(extreme))

    def _changes(self, levers: Sequence[str], digits: int) -> Iterator[dict[str, float]]:
        columns = [RANGES[lever][0] for lever in levers]
        of_each = [
            [amount for amount in spoken(low * self._now[column], high * self._now[column], digits)]
            for column, low, high in (RANGES[lever] for lever in levers)
        ]
        for amounts in itertools.product(*of_each):
            changed = dict(zip(columns, amounts, strict=True))
            if all(changed[column] != self._now[column] for column in columns):
                yield changed

    def _row(self, amounts: Mapping[str, float]) -> dict[str, float]:
        now = {**self._now, **amounts}
        row = dict(self._values)
        for feature, columns in MADE_OF.items():
            if feature in row and columns & amounts.keys() and not math.isnan(row[feature]):
                row[feature] = _feature(feature, now)
        return row

    def _is_sold(self, amounts: Mapping[str, float]) -> bool:
        now = {**self._now, **amounts}
        if not has_a_term(now[CREDIT], now[ANNUITY]):
            return False
        if PRICE not in amounts:
            return True
        part, part_now = (Fraction(one[CREDIT]) / Fraction(one[PRICE]) for one in (now, self._now))
        return part <= max(part_now, Fraction(1))

    def _is_seen(self, row: Mapping[str, float]) -> bool:
        return all(
            low <= row[feature] <= high or math.isnan(row[feature])
            for feature, (low, high) in self._seen.items()
        )


HIGHEST_RATE = 0.5 / 12
TERMS = [(count, (1 - (1 + HIGHEST_RATE) ** -count) / HIGHEST_RATE) for count in range(3, 121)]


@functools.lru_cache(100_000)  # levers of the price and of the income leave both as they are
def has_a_term(credit: float, annuity: float) -> bool:
    """From 3 to 120 instalments, 0 % to 50 % a year, each instalment to half a unit of its third digit."""
    half_a_unit = float(f"5e{len(str(int(annuity))) - 4}")
    most, least = credit / (annuity - half_a_unit), credit / (annuity + half_a_unit)
    return any(most >= repaid and least <= instalments for instalments, repaid in TERMS)


def _feature(feature: str, now: Mapping[str, float]) -> float:
    if feature in now and feature in (CREDIT, ANNUITY, PRICE):
        return now[feature]
    quotient, decimals = {
        "CREDIT_TERM": lambda: (now[CREDIT] / now[ANNUITY], 4),
        "CREDIT_GOODS_RATIO": lambda: (now[CREDIT] / (now[PRICE] + 1e-5), 4),
        "ANNUITY_INCOME_PERCENT": lambda: (now[ANNUITY] / now[INCOME], 5),
        "ANNUITY_BIRTH_RATIO": lambda: (now[ANNUITY] / (abs(now["DAYS_BIRTH"]) / 365), 2),
    }[feature]()
    return math.floor(quotient * 10.0**decimals + 0.5) / 10.0**decimals


def spoken(low: float, high: float, digits: int) -> list[float]:
    """By their decimal notation: so many significant digits, then zeros."""
    found = {
        amount
        for exponent in range(-3, 13)
        if 10.0**exponent <= high <= 10.0 ** (exponent + digits + 1)
        or 10.0**exponent <= low <= 10.0 ** (exponent + digits + 1)
        for amount in _with(digits, exponent)
    }
    return sorted(amount for amount in found if low <= amount <= high)


@functools.cache
def _with(digits: int, exponent: int) -> list[float]:
    return [float(f"{digit}e{exponent}") for digit in range(10 ** (digits - 1), 10**digits)]
