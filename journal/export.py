"""Writes the receipts into a Parquet file: one row a decision, the features and outputs as columns."""

import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from pyarrow import parquet

from journal import events, ids, listing, new_files, reading
from journal.errors import Refused
from journal.listing import Unread, Wanted
from journal.models import Model
from journal.reading import Record
from mlflow_model import machine

SUFFIX = ".parquet"
_TIME = pa.timestamp("us", tz="UTC")
_OWN = {
    "decision_id": pa.string(),
    "time": _TIME,
    "model_version": pa.string(),
    "model_name": pa.string(),
    "model_digest": pa.string(),
    "writer": pa.int64(),
    "sequence": pa.int64(),
    "door": pa.string(),
    "caller": pa.string(),
    "call_id": pa.string(),
    "request_id": pa.string(),
    "client_reference": pa.string(),
    "is_erased": pa.bool_(),
    "is_answered": pa.bool_(),
    "outcome": pa.string(),
    "reviewer": pa.string(),
    "reviewed": _TIME,
}


def require_place(file: Path) -> None:
    """Raises Refused. To be asked before the work begins."""
    if file.suffix != SUFFIX:
        raise Refused(f"export writes Parquet and nothing else: name a file *{SUFFIX}, not {file.name}")
    new_files.require_new(file)


def write(
    connection: sa.Connection, wanted: Wanted, file: Path, progress: Callable[[int], object]
) -> tuple[int, list[Unread]]:
    """Write a new file for its owner alone, whole or not at all. Raises Refused.

    Returns the number of rows, and the decisions that are left out because they cannot be read. A feature or
    an output that a decision's model does not have is null in its row.
    """
    models = [*reading.all_models(connection).values()]
    taken = {*_OWN, *itertools.chain.from_iterable(one.columns for one in models)}
    schema = _schema(models, taken)
    unfinished = file.with_name(f".{file.name}.unfinished")
    count, damaged = 0, list[int]()
    unread: list[Unread] = []
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as stream, parquet.ParquetWriter(stream, schema) as writer:
            for page in listing.all_of(connection, wanted, damaged.append):
                rows, more = listing.each_readable(page, functools.partial(_rows, connection, taken))
                writer.write_batch(pa.RecordBatch.from_pylist(rows, schema))
                count, unread = count + len(rows), unread + more
                progress(len(page))
        unfinished.rename(file)
    except OSError as error:
        raise Refused(f"{file.name} cannot be written: {machine.why_not_written(error)}") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return count, unread + [Unread.at(position) for position in damaged]


def _rows(connection: sa.Connection, taken: Set[str], page: Sequence[Record]) -> list[dict[str, Any]]:
    """Raises Damaged."""
    unanswered = listing.unanswered(connection, page)
    reviews = listing.last_reviews(connection, [one.id for one in page])
    return [
        dict(_cells(one, taken)) | {"is_answered": one.id not in unanswered} | _reviewed(reviews.get(one.id))
        for one in page
    ]


def _reviewed(last: Record | None) -> dict[str, Any]:
    if last is None or not isinstance(event := last.event, events.Review):
        return {}
    return {"outcome": event.outcome, "reviewer": event.reviewer, "reviewed": last.time}


def _of_features(model: Model, taken: Set[str]) -> list[str]:
    """Their columns. A feature that is called as another column comes behind a word that says what it is."""
    return [f"feature {name}" if name in taken else name for name in model.features]


def _schema(models: Iterable[Model], taken: Set[str]) -> pa.Schema:
    """Of all models, in the order in which they came."""
    outputs: dict[str, pa.DataType] = {}
    features: dict[str, pa.DataType] = {}
    for model in models:
        outputs |= {model.columns[0]: pa.string()} | dict.fromkeys(model.columns[1:], pa.float64())
        features |= dict.fromkeys(_of_features(model, taken), pa.float64())
    return pa.schema(_OWN | features | outputs)


def _cells(one: Record, taken: Set[str]) -> Iterator[tuple[str, Any]]:
    kept, client, model = one.kept, one.client, one.model
    if model is None:
        raise ValueError("no receipt")
    yield from zip(model.columns, kept.outputs, strict=True)
    if client is not None:
        inputs = (None if value != value else value for value in client.inputs)
        yield from zip(_of_features(model, taken), inputs, strict=True)
        yield from (("request_id", client.request_id), ("client_reference", client.client_reference or None))
    yield from (("decision_id", ids.written(one.id)), ("time", one.time))
    yield from (("writer", one.writer), ("sequence", one.sequence), ("is_erased", one.is_erased))
    yield from (("door", kept.door), ("caller", kept.caller or None))
    yield "call_id", ids.written(kept.call_id) if kept.call_id else None
    yield from (("model_name", model.name), ("model_version", model.version), ("model_digest", model.digest))
