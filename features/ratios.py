"""The features that divide one column of an application by another, defined once, as data.

The catalogue's text, the Ibis expressions of `features.aggregate` and the NumPy arrays of drawn clients all
derive from these definitions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ratio:
    """`numerator / denominator`, two columns of an application.

    `days_per_year`: the denominator counts days, negatively, and is turned into years. `epsilon` is added to
    the denominator.
    """

    numerator: str
    denominator: str
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
        return f"{self.numerator} / {below}"

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


def _absolute(values: Any) -> Any:
    """Ibis has the method and not the operator; NumPy has the operator and not the method."""
    return values.abs() if hasattr(values, "abs") else abs(values)


RATIOS: Mapping[str, Ratio] = {
    "CREDIT_TERM": Ratio("AMT_CREDIT", "AMT_ANNUITY"),
    "ANNUITY_BIRTH_RATIO": Ratio("AMT_ANNUITY", "DAYS_BIRTH", days_per_year=365),
    "ANNUITY_INCOME_PERCENT": Ratio("AMT_ANNUITY", "AMT_INCOME_TOTAL"),
    "CREDIT_GOODS_RATIO": Ratio("AMT_CREDIT", "AMT_GOODS_PRICE", epsilon=1e-5),
}
