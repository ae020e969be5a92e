"""What may change in a loan, in which direction and how far, and every feature that follows from it."""

import functools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from explain.leaves import Flags
from explain.tariff import Tariff
from features.identities import IDENTITIES, TOO_LARGE
from mlflow_model.bundle.scoring import Doubles

CREDIT, ANNUITY, PRICE, INCOME = "AMT_CREDIT", "AMT_ANNUITY", "AMT_GOODS_PRICE", "AMT_INCOME_TOTAL"
Amounts = Doubles | float  # one, or arrays that NumPy broadcasts

LEAST_AMOUNT = 0.01
_LARGEST_RATIO = TOO_LARGE / 100  # so that no lever makes it too large


@dataclass(frozen=True)
class Lever:
    """An amount of an application that may change, from and to these multiples of what it is.

    `digits`: how many significant ones a person says of an amount.
    """

    name: str
    column: str
    least: float
    most: float
    digits: int = 3

    def within(self, change: float) -> "Lever":
        """The same, where the relative change is no more than this."""
        return replace(self, least=max(self.least, 1.0 - change), most=min(self.most, 1.0 + change))

    def amounts(self, now: float) -> Doubles:
        """Those a person says in its range, rising, without what it is now."""
        amounts = _spoken(self.least * now, self.most * now, self.digits)
        return amounts[amounts != now]


LESS_CREDIT = Lever("less_credit", CREDIT, 0.5, 1.0)
LONGER = Lever("longer_term", ANNUITY, 0.5, 1.0)
SHORTER = Lever("shorter_term", ANNUITY, 1.0, 2.0)
CHEAPER = Lever("cheaper_good", PRICE, 0.5, 1.0)
MORE_INCOME = Lever("more_income", INCOME, 1.0, 2.0)
LEVERS = (LESS_CREDIT, LONGER, SHORTER, CHEAPER, MORE_INCOME)
"""What a bank may propose: never to borrow more, or to earn less."""

WORSE = (
    Lever("more_credit", CREDIT, 1.0, 2.0),
    LONGER,
    SHORTER,
    Lever("dearer_good", PRICE, 1.0, 2.0),
    Lever("less_income", INCOME, 0.5, 1.0),
)
"""What may happen to a client who is reliable now."""

_COLUMNS = frozenset(lever.column for lever in (*LEVERS, *WORSE))


def _spoken(low: float, high: float, digits: int) -> Doubles:
    """All amounts of so many significant digits from `low` to `high`, rising."""
    least, most = math.floor(math.log10(low)), math.floor(math.log10(high))
    amounts = np.concatenate([_decade(size - digits + 1, digits) for size in range(least, most + 1)])
    return amounts[amounts.searchsorted(low) : amounts.searchsorted(high, side="right")]


@functools.lru_cache
def _decade(exponent: int, digits: int) -> Doubles:
    """All numbers of so many digits times ten to the exponent: the doubles nearest to the decimals."""
    numbers = np.arange(10 ** (digits - 1), 10**digits)
    return numbers * 10.0**exponent if exponent >= 0 else numbers / 10.0**-exponent


@dataclass(frozen=True)
class Loan:
    """A client's values by feature, and the income. NaN is a missing value."""

    values: Mapping[str, float]
    income: float

    def levers(self, among: Sequence[Lever]) -> Iterator[Lever]:
        """Those that can be moved: an amount of money is known, and so is all that features are made of."""
        for lever in among:
            moved = self._following([lever.column])
            if (
                _is_money(self.amount(lever.column))
                and moved
                and all(self._can_compute(feature) for feature in moved)
            ):
                yield lever

    def unknown(self) -> list[str]:
        """The amounts that features are made of, and that are not known or no money: no lever moves them."""
        columns = dict.fromkeys(lever.column for lever in LEVERS)
        made_of = set[str]().union(*map(_made_of, self.values))
        return [one for one in columns if one in made_of and not _is_money(self.amount(one))]

    def amount(self, column: str) -> float:
        """NaN where it is not known."""
        if column in self.values:
            return self.values[column]
        return self.income if column == INCOME else math.nan

    def moved(self, amounts: Mapping[str, Amounts]) -> dict[str, Amounts]:
        """The features that are known and made of these columns, where they have these amounts."""
        return {
            feature: _computed(
                feature, {name: amounts.get(name, self.amount(name)) for name in _made_of(feature)}
            )
            for feature in self._following(amounts)
        }

    def _following(self, columns: Collection[str]) -> list[str]:
        """The features that are known and made of one of these columns."""
        return [feature for feature in self._known if not _made_of(feature).isdisjoint(columns)]

    @functools.cached_property
    def _known(self) -> list[str]:
        """The features that are known and follow from an amount that may change."""
        return [
            feature
            for feature, value in self.values.items()
            if depends_on_a_lever(feature) and not math.isnan(value)
        ]

    def is_sold(self, amounts: Mapping[str, Amounts], tariff: Tariff) -> Flags:
        """Whether the bank would lend so, of a shape that NumPy broadcasts to that of the amounts.

        There is a term and a rate for the annuity, also where it stays. And a cheaper good is not bought with
        a credit that exceeds its price, unless it does so now, and by no greater part.
        """
        credit, annuity, price = (
            np.asarray(amounts.get(column, self.amount(column))) for column in (CREDIT, ANNUITY, PRICE)
        )
        is_sold = np.ones((1, 1), np.bool_)
        if not (np.isnan(credit).any() or np.isnan(annuity).any()):
            is_sold = tariff.sells(credit, annuity)
        if PRICE in amounts and not np.isnan(self.amount(CREDIT)):
            is_no_greater_part = credit * self.amount(PRICE) <= self.amount(CREDIT) * price
            is_sold = is_sold & (is_no_greater_part | (credit <= price))
        return is_sold

    def _can_compute(self, feature: str) -> bool:
        """Whether all that it is made of is known, and no quotient of it is by 0 or too large to be one."""
        application = {column: self.amount(column) for column in _made_of(feature)}
        if any(math.isnan(amount) for amount in application.values()):
            return False
        identity = IDENTITIES.get(feature)
        if identity is None:
            return True
        above, below = identity.terms(application)
        return application[identity.denominator] != 0 and abs(above) < _LARGEST_RATIO * abs(below)


def loan_of(values: Mapping[str, float], income: float = math.nan) -> Loan:
    """The loan that a client's values describe. `income`: NaN where only its ratio tells it."""
    return Loan(values, _income(values) if math.isnan(income) else income)


def _is_money(amount: float) -> bool:
    return LEAST_AMOUNT <= amount < TOO_LARGE


def depends_on_a_lever(feature: str) -> bool:
    """Whether a feature is made of an amount that may change."""
    return not _made_of(feature).isdisjoint(_COLUMNS)


def pairs(levers: Sequence[Lever]) -> Iterator[tuple[Lever, Lever]]:
    """Two levers that one feature ties to each other: its numerator first."""
    for identity in IDENTITIES.values():
        for above in levers:
            for below in levers:
                if (above.column, below.column) == (identity.numerator, identity.denominator):
                    yield above, below


def _income(values: Mapping[str, float]) -> float:
    """The roundest income that gives the ratio of the annuity to it."""
    identity = IDENTITIES["ANNUITY_INCOME_PERCENT"]
    annuity, ratio = values.get(ANNUITY, math.nan), values.get("ANNUITY_INCOME_PERCENT", math.nan)
    if not (_is_money(annuity) and 0.0 < ratio < TOO_LARGE):
        return math.nan
    income = annuity / ratio
    for digits in range(1, 16):
        rounder = float(f"{income:.{digits}g}")
        if not identity.contradicts(ratio, annuity / rounder):
            return rounder
    return income


def _made_of(feature: str) -> set[str]:
    """The columns of an application that a feature is computed from."""
    identity = IDENTITIES.get(feature)
    return {feature} if identity is None else {identity.numerator, identity.denominator}


def _computed(feature: str, application: Mapping[str, Amounts]) -> Amounts:
    identity = IDENTITIES.get(feature)
    if identity is None:
        return application[feature]
    above, below = identity.terms(application)
    rounded: Amounts = identity.rounded(above / below, np.floor)
    return rounded
