"""The loans that a bank sells: over how many instalments, at which rates."""

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlflow_model.bundle.scoring import Doubles

_KEYS = ("instalments", "lowest_rate", "highest_rate")
_MOST_INSTALMENTS = 1_200
_HIGHEST_RATE = 10.0


class BadTariff(ValueError):
    """The content is no tariff. The message says why."""


@dataclass(frozen=True)
class Product:
    """A loan over so many monthly instalments, at nominal yearly rates from `lowest` to `highest`."""

    instalments: int
    lowest_rate: float
    highest_rate: float

    @property
    def terms(self) -> tuple[float, float]:
        """The least and the greatest quotient of the credit by one instalment."""
        return (
            _annuity_factor(self.instalments, self.highest_rate),
            _annuity_factor(self.instalments, self.lowest_rate),
        )


@dataclass(frozen=True)
class Tariff:
    """A bank's products."""

    products: tuple[Product, ...]

    @classmethod
    def of_json(cls, content: bytes) -> "Tariff":
        """A list of objects with the keys of Product. Raises BadTariff."""
        try:
            listed = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise BadTariff("it is not JSON") from error
        if not (isinstance(listed, list) and listed):
            raise BadTariff("it is not a list of products")
        return cls(tuple(_product(number, one) for number, one in enumerate(listed, 1)))

    def sells(self, credit: Doubles, annuity: Doubles) -> npt.NDArray[np.bool_]:
        """Whether there is a product for each credit and instalment, arrays that NumPy broadcasts.

        An instalment is said with three digits: the exact one is up to half a step of the last away.
        """
        with np.errstate(all="ignore"):
            half_a_step = 10.0 ** (np.floor(np.log10(annuity)) - 2) / 2
            above, below = annuity + half_a_step, annuity - half_a_step
            lowest, highest = credit.min() / below.max(), credit.max() / above.min()
            if any(least <= lowest and highest <= most for least, most in self._ranges):
                return np.ones(np.broadcast(credit, annuity).shape, np.bool_)
            low, high = np.asarray(credit / above), np.asarray(credit / below)
            found = np.zeros(low.shape, np.bool_)
            for least, most in self._ranges:
                found |= (low <= most) & (high >= least)
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


def _product(number: int, given: object) -> Product:
    """The checked product of a list, counted from 1. Raises BadTariff."""
    if not (isinstance(given, Mapping) and given.keys() == set(_KEYS)):
        raise BadTariff(f"product {number} has not just the keys {', '.join(_KEYS)}")
    instalments, lowest, highest = (given[key] for key in _KEYS)
    if not (type(instalments) is int and 1 <= instalments <= _MOST_INSTALMENTS):
        raise BadTariff(f"product {number}: instalments is no whole number from 1 to {_MOST_INSTALMENTS:,}")
    if not (_is_rate(lowest) and _is_rate(highest) and lowest <= highest):
        raise BadTariff(
            f"product {number}: the rates are no yearly shares from 0 to {_HIGHEST_RATE:g}, the lowest first"
        )
    return Product(instalments, float(lowest), float(highest))


def _is_rate(given: Any) -> bool:
    return type(given) in (int, float) and 0 <= given <= _HIGHEST_RATE


def _annuity_factor(instalments: int, yearly_rate: float) -> float:
    """The credit that an instalment of 1 repays: the present value of an annuity."""
    rate = yearly_rate / 12
    return -math.expm1(-instalments * math.log1p(rate)) / rate if rate else float(instalments)
