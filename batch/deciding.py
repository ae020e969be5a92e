"""The vectorised path: clients in Arrow's columns and a scorer in, decided clients in Arrow's columns out.

The same function decides here, on Spark and wherever there are many clients. It keeps no state and imports
neither pandas nor the package lightgbm. What decides is the bundle's own code, as at POST /predict.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from features import arrow_columns
from features.arrow_columns import Column
from mlflow_model.bundle import decision_columns
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import Scorer

_VIEWS = {pa.string_view(): pa.utf8(), pa.binary_view(): pa.binary()}


def decided(batch: pa.RecordBatch, scorer: Scorer) -> pa.RecordBatch:
    """The columns of `batch` that are no features, in their order, then the columns of the decision.

    Raises the scorer's Refusal, which names a feature and a row, or NotADecision.
    """
    return with_decisions(others(batch, scorer.features), values(batch, scorer.features), scorer)


def values(batch: pa.RecordBatch, features: Sequence[str]) -> dict[str, Column]:
    """The features' values as doubles, or as Python objects where integers may not fit in doubles."""
    return {name: arrow_columns.values(batch.column(name)) for name in features}


def others(batch: pa.RecordBatch, features: Sequence[str]) -> pa.RecordBatch:
    """The columns that are no features, as they came; what stands for other values as these values.

    A dictionary belongs to one batch of a file, and another batch may have another one.
    """
    kept = others_schema(batch.schema, features)
    columns = [plain(batch.column(name)) for name in kept.names]
    return pa.RecordBatch.from_arrays(columns, schema=kept) if columns else batch.select([])


def others_schema(schema: pa.Schema, features: Sequence[str]) -> pa.Schema:
    """The schema of what `others` gives."""
    kept = [field.remove_metadata() for field in schema if field.name not in features]
    return pa.schema([field.with_type(_plain_type(field.type)) for field in kept])


def plain(column: Any) -> Any:
    """What a dictionary, run ends or a view stand for."""
    if pa.types.is_dictionary(column.type):
        return plain(column.dictionary_decode())
    if pa.types.is_run_end_encoded(column.type):
        return plain(pc.run_end_decode(column))
    return column.cast(_plain_type(column.type)) if column.type in _VIEWS else column


def _plain_type(kind: Any) -> Any:
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _plain_type(kind.value_type)
    return _VIEWS.get(kind, kind)


def with_decisions(
    passed_through: pa.RecordBatch, found: Mapping[str, Column], scorer: Scorer
) -> pa.RecordBatch:
    """These columns, then those of the decisions on clients with these values. Raises as `decided` does."""
    rows = len(found[scorer.features[0]])
    decisions = decision_columns.writable(scorer.decide_table(found), rows)
    policy = scorer.policy
    labels = (policy.reliable, policy.uncertain, policy.risky)
    arrays = [
        arrow_columns.coded(column.tolist(), labels) if name == "prediction" else arrow_columns.array(column)
        for name, column in decisions.items()
    ]
    names = [*passed_through.schema.names, *decisions]
    return pa.RecordBatch.from_arrays([*passed_through.columns, *arrays], names=names)


def schema(passed_through: pa.Schema, bundle: Bundle, scorer: Scorer) -> pa.Schema:
    """The schema of what `decided` gives, found by deciding on the bundle's golden rows.

    A column of the version's own that is None for all of them is one of texts. Raises NotADecision.
    """
    rows = bundle.golden_rows()
    nobody = pa.RecordBatch.from_arrays(
        [pa.nulls(len(rows), field.type) for field in passed_through], schema=passed_through
    )
    decided = with_decisions(nobody, dict(zip(scorer.features, rows.T, strict=True)), scorer).schema
    fields = [*passed_through, *list(decided)[len(passed_through) :]]
    return pa.schema([one.with_type(pa.utf8()) if one.type == pa.null() else one for one in fields])


def refusals(found: Mapping[str, Column], scorer: Scorer) -> Iterator[tuple[int, str]]:
    """The rows that the scorer refuses, from 0, in their order, each with the scorer's own sentence.

    By halving: the scorer accepts a table whole or not at all, and names one row of those that it refuses.
    """
    parts = [(0, len(found[scorer.features[0]]))]
    while parts:
        start, end = parts.pop()
        try:
            scorer.matrix({name: column[start:end] for name, column in found.items()})
        except scorer.Refusal as refused:
            if end - start == 1:
                yield start, refused.detail.removeprefix("ligne 1 : ")
                continue
            middle = (start + end) // 2
            parts += [(middle, end), (start, middle)]
