"""Finds the model's features among a table's columns."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from api.deciding.formats import kept_columns
from mlflow_model.errors import BadData, MissingFeatures

Column = npt.NDArray[Any]


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
