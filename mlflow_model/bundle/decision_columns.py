"""Checks the columns that a bundle's own code has answered, before anybody writes them."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[Any]

# What every format has a cell for.
WRITABLE = frozenset({str, float, int, bool, type(None)})

_PLAIN = "OUTiub"  # kinds of NumPy types: objects, texts, integers, booleans


class NotADecision(TypeError):
    """The bundle's own code has answered something that a format cannot write."""


def check_names(names: Iterable[object]) -> None:
    """Check for the two columns that metrics count, and that all names are texts. Raises NotADecision."""
    found = list(names)
    if not {"prediction", "probability_class_1"} <= set(found) or set(map(type, found)) != {str}:
        raise NotADecision


def writable(decisions: Mapping[str, Any], rows: int) -> dict[str, Column]:
    """The decision's own columns in their order: doubles, or Python objects of one type and None.

    Raises NotADecision where a format has no place for them.
    """
    check_names(decisions)
    columns = {name: _writable(np.asarray(values), rows) for name, values in decisions.items()}
    if _types(columns["prediction"]) != {str} or columns["probability_class_1"].dtype != np.float64:
        raise NotADecision
    return columns


def _writable(column: Column, rows: int) -> Column:
    if column.shape != (rows,):
        raise NotADecision
    if column.dtype.kind == "f":
        doubles = np.ascontiguousarray(column, np.float64)
        if not np.isfinite(doubles).all():
            raise NotADecision
        return doubles
    if column.dtype.kind not in _PLAIN:
        raise NotADecision
    objects = column.astype(object)
    types = _types(objects) - {type(None)}
    if len(types) > 1 or not types <= WRITABLE:
        raise NotADecision
    if types == {float} and not all(math.isfinite(value) for value in objects if value is not None):
        raise NotADecision
    return objects


def _types(column: Column) -> set[type]:
    return set(map(type, column.tolist()))
