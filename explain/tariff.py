"""The loans that a bank sells: over how many instalments, at which rates."""

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlflow_model.bundle.scoring import Doubles

_MOST_INSTALMENTS = 1_200
_HIGHEST_RATE = 10.0


class BadTariff(ValueError):
    """The file holds no tariff. The message says why."""


@dataclass(frozen=True)
class Product:
    """A loan over so many monthly instalments, at nominal yearly rates from `lowest` to `highest`."""

    instalments: int
    lowest: float
    highest: float

    @property
    def terms(self) -> tuple[float, float]:
        """The least and the greatest quotient of the credit by one instalment."""
        return _annuity_factor(self.instalments, self.highest), _annuity_factor(self.instalments, self.lowest)


@dataclass(frozen=True)
class Tariff:
    """A bank's products, and where they come from."""

    products: tuple[Product, ...]

    def sells(self, terms: Doubles) -> npt.NDArray[np.bool_]:
        """Whether there is a product for each quotient of a credit by its instalment."""
        found = np.zeros(terms.shape, np.bool_)
        for least, most in self._ranges:
            if least <= terms.min() and terms.max() <= most:
                return np.ones(terms.shape, np.bool_)
            found |= (least <= terms) & (terms <= most)
        return found

    @functools.cached_property
    def _ranges(self) -> list[tuple[float, float]]:
        """The terms of all products, without overlaps, the widest first."""
        found: list[tuple[float, float]] = []
        for least, most in sorted(product.terms for product in self.products):
            if found and least <= found[-1][1]:
                found[-1] = found[-1][0], max(found[-1][1], most)
            else:
                found.append((least, most))
        return sorted(found, key=lambda one: one[0] - one[1])


# Without a tariff: 0 % to 50 % a year over a quarter of a year to ten years.
PLAUSIBLE = Tariff(tuple(Product(instalments, 0.0, 0.5) for instalments in range(3, 121)))


def _annuity_factor(instalments: int, yearly_rate: float) -> float:
    """The credit that an instalment of 1 repays: the present value of an annuity."""
    rate = yearly_rate / 12
    return -math.expm1(-instalments * math.log1p(rate)) / rate if rate else float(instalments)
