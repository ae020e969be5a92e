"""The clients whom the benchmarks of /predict send in turn: different ones, as a bank asks about them.

The processor foresees the way of a repeated client through the trees: LightGBM then decides on it several
times as fast as on one whom it has not just seen.
"""

import json
import math
from collections.abc import Mapping, Sequence

import numpy as np

from mlflow_model.bundle.scoring import Doubles, Scorer
from quality.portfolio import Portfolio

COUNT = 1_000

Client = Mapping[str, float | None]


def different(scorer: Scorer) -> list[Client]:
    """The first COUNT reference clients whom the model takes and of whom no two are the same."""
    matrix = known(scorer)
    _, firsts = np.unique(matrix, axis=0, return_index=True)
    return of_rows(scorer, matrix[np.sort(firsts)[:COUNT]])


def known(scorer: Scorer) -> Doubles:
    """The reference clients who have what the model needs, a row each, NaN where a value is missing."""
    columns = Portfolio.read().columns
    matrix = np.column_stack([columns[name] for name in scorer.features])
    needed = [name not in scorer.nullable for name in scorer.features]
    found: Doubles = matrix[~np.isnan(matrix[:, needed]).any(axis=1)]
    return found


def of_rows(scorer: Scorer, matrix: Doubles) -> list[Client]:
    return [
        {name: None if math.isnan(value) else value for name, value in zip(scorer.features, row, strict=True)}
        for row in matrix.tolist()
    ]


def bodies(clients: Sequence[Client]) -> list[bytes]:
    """As POST /predict takes them."""
    return [json.dumps(client).encode() for client in clients]
