"""Columns of Arrow as the cells of a CSV: numbers, texts and None."""

from typing import Any

import numpy as np
import pyarrow as pa

from batch import deciding
from batch.errors import Refused
from features import arrow_columns
from features.arrow_columns import Column

_NO_CELL = "column {} holds {}, which CSV has no cell for"


def of(name: str, array: Any) -> Column:
    """Doubles where all are there, else Python objects. A missing number is None. Raises Refused."""
    array = deciding.plain(array)
    if array.type == pa.float64() and not array.null_count:
        doubles = arrow_columns.values(array)
        if not np.isnan(doubles).any():
            return doubles
    if pa.types.is_floating(array.type):
        return np.fromiter((_number(one) for one in array.to_pylist()), object, len(array))
    if array.type not in arrow_columns.TEXTS:
        array = _as_text(name, array)
    return np.fromiter(array.to_pylist(), object, len(array))


def check(name: str, kind: Any) -> None:
    """Raises Refused for a column of a type that has no cells."""
    of(name, pa.nulls(1, kind))


def _number(value: float | None) -> float | None:
    return None if value is None or value != value else value


def _as_text(name: str, array: Any) -> Any:
    try:
        return array.cast(pa.utf8())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:  # the second one quotes a value
        raise Refused(_NO_CELL.format(name, array.type)) from error
