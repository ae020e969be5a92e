"""Finds the model's features among a table's columns, and checks those that the bundle's code answers."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from api.deciding import one_client
from api.deciding.formats import kept_columns
from mlflow_model.errors import BadData, MissingFeatures

Column = npt.NDArray[Any]

_PLAIN = "OUTiub"  # kinds of NumPy types: objects, texts, integers, booleans


def positions(names: Sequence[str], features: Sequence[str], keep: Sequence[str]) -> dict[str, int]:
    """Where the column of each feature and each kept name is, which must come once. Others are ignored."""
    wanted = dict.fromkeys([*features, *keep])
    times = Counter(names)
    for name in wanted:
        if times[name] > 1:
            raise BadData(f"la colonne{kept_columns.shown(name)} apparaît plusieurs fois")
    found = {name: position for position, name in enumerate(names)}
    missing = [name for name in features if name not in found]
    if missing:
        raise MissingFeatures(missing, names)
    for name in keep:
        if name not in found:
            raise kept_columns.absent(name)
    return {name: found[name] for name in wanted}


def writable(decisions: Mapping[str, Any], rows: int) -> dict[str, Column]:
    """The decision's own columns in their order: doubles, or Python objects of one type and None.

    Raises NotADecision where a format has no place for them.
    """
    one_client.check_columns(decisions)
    columns = {name: _writable(np.asarray(values), rows) for name, values in decisions.items()}
    if _types(columns["prediction"]) != {str} or columns["probability_class_1"].dtype != np.float64:
        raise one_client.NotADecision
    return columns


def _writable(column: Column, rows: int) -> Column:
    if column.shape != (rows,):
        raise one_client.NotADecision
    if column.dtype.kind == "f":
        doubles = np.ascontiguousarray(column, np.float64)
        if not np.isfinite(doubles).all():
            raise one_client.NotADecision
        return doubles
    if column.dtype.kind not in _PLAIN:
        raise one_client.NotADecision
    objects = column.astype(object)
    types = _types(objects) - {type(None)}
    if len(types) > 1 or not types <= one_client.WRITABLE:
        raise one_client.NotADecision
    if types == {float} and not all(math.isfinite(value) for value in objects if value is not None):
        raise one_client.NotADecision
    return objects


def _types(column: Column) -> set[type]:
    return set(map(type, column.tolist()))
