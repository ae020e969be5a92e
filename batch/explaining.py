"""The weightiest reasons of decisions as columns: what POST /explain tells of a client, in the same words.

Three columns a reason: its sentence, the feature that adds most to it, and the points that it adds to the
probability. They are null where a client has fewer reasons.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from explain import contributions, population, reasons
from explain.contributions import NotExact
from explain.reasons import Reason
from features import arrow_columns
from features.arrow_columns import Column
from mlflow_model.bundle.scoring import Doubles, Scorer

_POINTS = "_points"


class NotExplained(Exception):
    """One of the clients cannot be explained exactly. `place`: among them, from 0."""

    def __init__(self, place: int) -> None:
        super().__init__(place)
        self.place = place


def can_explain(scorer: Scorer) -> bool:
    """The code of the first bundles cannot."""
    return hasattr(scorer, "contributions")


def fields(count: int) -> list[pa.Field]:
    """The columns of `count` reasons."""
    return [
        field
        for number in range(1, count + 1)
        for field in (
            pa.field(f"reason_{number}", pa.utf8()),
            pa.field(f"reason_{number}_feature", pa.utf8()),
            pa.field(f"reason_{number}{_POINTS}", pa.float64()),
        )
    ]


def is_of_points(name: str) -> bool:
    return name.startswith("reason_") and name.endswith(_POINTS)


def with_reasons(
    decided: pa.RecordBatch, values: Mapping[str, Column], scorer: Scorer, count: int
) -> pa.RecordBatch:
    """The decided clients, who have these values, with the columns of their reasons. Raises NotExplained."""
    place = decided.schema.get_field_index("probability_class_1")
    probabilities = arrow_columns.values(decided.column(place))
    found = _reasons(values, probabilities, scorer, count)
    added = [column for number in range(count) for column in _columns([one[number] for one in found])]
    schema = pa.schema([*decided.schema, *fields(count)])
    return pa.RecordBatch.from_arrays([*decided.columns, *added], schema=schema)


def _reasons(
    values: Mapping[str, Column], probabilities: Doubles, scorer: Scorer, count: int
) -> list[list[Reason | None]]:
    """Those of each client, and None behind them."""
    others = population.of_scorer(scorer)
    columns = [np.asarray(values[name], np.float64).tolist() for name in scorer.features]
    found: list[list[Reason | None]] = []
    for place, row in enumerate(zip(*columns, strict=True)):
        try:
            points = contributions.of_row(scorer, row, float(probabilities[place])).points
        except NotExact as error:
            raise NotExplained(place) from error
        told = reasons.weightiest(scorer.features, row, points, others, count)
        found.append([*told, *[None] * (count - len(told))])
    return found


def _columns(found: Sequence[Reason | None]) -> list[pa.Array]:
    points = [None if one is None else one.points for one in found]
    return [
        arrow_columns.texts([None if one is None else one.sentence for one in found]),
        arrow_columns.texts([None if one is None else one.feature for one in found]),
        arrow_columns.array(np.array(points, dtype=object)).cast(pa.float64()),
    ]
