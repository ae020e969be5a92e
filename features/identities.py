"""The features that follow from columns of an application: one column divided by another, and rounded.

The catalogue's text, the Ibis expressions of `features.aggregate` and the NumPy arrays of drawn clients all
derive from these definitions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TOO_LARGE = 1e15  # for a number in a raw table, and so for a ratio


@dataclass(frozen=True)
class Ratio:
    """`numerator / denominator`, two columns of an application, rounded half up to `decimals`.

    `days_per_year`: the denominator counts days, negatively, and is turned into years. `epsilon` is added to
    the denominator.
    """

    numerator: str
    denominator: str
    decimals: int
    days_per_year: int | None = None
    epsilon: float | None = None

    @property
    def text(self) -> str:
        """The formula as the catalogue shows it."""
        below = self.denominator
        if self.days_per_year is not None:
            below = f"(|{below}| / {self.days_per_year})"
        if self.epsilon is not None:
            below = f"({below} + {self.epsilon!r})".replace("e-0", "e-")
        return f"round({self.numerator} / {below}, {self.decimals})"

    def terms(self, application: Mapping[str, Any] | Any) -> tuple[Any, Any]:
        """Numerator and denominator from the columns by name: NumPy arrays or an Ibis table.

        Each engine divides in its own way, because they differ in what a division by 0 gives.
        """
        below = application[self.denominator]
        if self.days_per_year is not None:
            below = _absolute(below) / self.days_per_year
        if self.epsilon is not None:
            below = below + self.epsilon
        return application[self.numerator], below

    def rounded(self, quotient: Any, floor: Any) -> Any:
        """The quotient to `decimals`. `floor` is the engine's, from doubles to doubles.

        Engines round ties and their neighbours differently. A product, a sum, a floor and a quotient of
        doubles are the same everywhere, and the result is the double nearest to the decimal number.
        """
        scale = 10.0**self.decimals
        return floor(quotient * scale + 0.5) / scale

    def contradicts(self, given: Any, quotient: Any) -> Any:
        """Whether another quotient was given: a sender may round it so, or send more digits.

        Of doubles or NumPy arrays. NaN contradicts nothing.
        """
        return abs(given - quotient) > 0.5000001 * 10.0**-self.decimals


def _absolute(values: Any) -> Any:
    """Ibis has the method and not the operator; NumPy has the operator and not the method."""
    return values.abs() if hasattr(values, "abs") else abs(values)


# CREDIT_GOODS_RATIO of a loan that equals the price would be 0.99999999998. Models then split between that
# and 1, so that the label depends on how a sender rounds. The decimals keep four digits of each ratio.
IDENTITIES: Mapping[str, Ratio] = {
    "CREDIT_TERM": Ratio("AMT_CREDIT", "AMT_ANNUITY", 4),
    "ANNUITY_BIRTH_RATIO": Ratio("AMT_ANNUITY", "DAYS_BIRTH", 2, days_per_year=365),
    "ANNUITY_INCOME_PERCENT": Ratio("AMT_ANNUITY", "AMT_INCOME_TOTAL", 5),
    "CREDIT_GOODS_RATIO": Ratio("AMT_CREDIT", "AMT_GOODS_PRICE", 4, epsilon=1e-5),
}
