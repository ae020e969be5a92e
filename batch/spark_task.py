"""What runs on Spark's executors: batches of Arrow in, decided clients out, by the path of one machine.

Nothing heavy is imported. The bundle is loaded once in each Python process of an executor.

What a task tells goes to the driver in an accumulator (`Told`), by the place of the first row of each stretch
of a file. A task that is tried again tells the same of the same places, so that nothing counts twice.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np
import pyarrow as pa
from pyspark import SparkFiles
from pyspark.accumulators import Accumulator, AccumulatorParam

from batch import bundle_archive, deciding, summary
from batch.clients import Bad, Chunk
from batch.errors import Refused
from batch.run import Decided, Run
from features import arrow_columns, csv_cells
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import Scorer
from mlflow_model.errors import ModelUnavailable

Place = tuple[str, int]  # a file, as a sentence names it, and a row in it, from 1
Told = dict[Place, dict[str, Any]]  # `counts`, or `bad`, or `problem`
Batches = Iterator[pa.RecordBatch]
Located = Iterator[tuple[Place, Chunk]]
SET_ASIDE = pa.schema(
    {
        "place": pa.int32(),
        "file": pa.utf8(),
        "row": pa.int64(),
        "reason": pa.utf8(),
        "cells": pa.list_(pa.utf8()),
    }
)
_NOWHERE: Place = ("", 0)
_DELIMITER = ","  # which no number holds here


class Union(AccumulatorParam[Told]):
    """What all tasks tell."""

    def zero(self, value: Told) -> Told:
        return {}

    def addInPlace(self, value1: Told, value2: Told) -> Told:
        return {**value1, **value2}


@dataclass(frozen=True)
class Task:
    """`archive`: the bundle's, by the name under which Spark sends it. `chunks`: of what Spark reads."""

    archive: str
    digest: str
    chunks: Callable[[Batches, Sequence[str]], Located]
    allows_bad: bool


def decide(task: Task, told: "Accumulator[Told]") -> Callable[[Batches], Batches]:
    """For `mapInArrow`: the columns of the output."""

    def decided(batches: Batches) -> Batches:
        found: Told = {}
        last = _NOWHERE
        try:
            for place, one in _decided(task, batches):
                if one.bad and not task.allows_bad:
                    found = {(place[0], one.bad[0].row): {"bad": one.bad[0].reason}}
                    break
                if place != last:
                    found[place] = {"counts": one.counts}
                else:
                    found[place]["counts"].add(one.counts)
                last = place
                yield _plain(one.batch)
        except (Refused, ModelUnavailable) as error:
            found = {last: {"problem": str(error)}}
        for _ in batches:  # Spark must have given them all
            pass
        told.add({place: _as_state(one) for place, one in found.items()})

    return decided


def set_aside(task: Task, order: Mapping[str, int]) -> Callable[[Batches], Batches]:
    """For `mapInArrow`: the rows that are not decided on. `order`: of the files."""

    def found(batches: Batches) -> Batches:
        for place, one in _decided(task, batches):
            if one.bad:
                yield _as_batch(order[place[0]], place[0], one.bad)

    return found


def _decided(task: Task, batches: Batches) -> Iterator[tuple[Place, Decided]]:
    """Each with the place where its stretch of a file begins."""
    bundle, scorer = _loaded(task.archive, task.digest)
    run = None
    last, end = _NOWHERE, 0
    for (file, row), chunk in task.chunks(batches, scorer.features):
        clients = chunk.clients()
        if run is None:
            columns = deciding.schema(clients.others.schema, bundle, scorer)
            run = Run(scorer, columns, allows_bad=True, threads=1, costs=summary.costs_of(bundle))
        if (file, row) != (last[0], end):
            last = (file, row)
        end = row + len(clients.rows) + len(clients.bad)
        yield last, run.decide(file, clients)


@functools.lru_cache(maxsize=2)
def _loaded(archive: str, digest: str) -> tuple[Bundle, Scorer]:
    """Raises LoadingFailed."""
    bundle = bundle_archive.unpack(Path(SparkFiles.get(archive)), digest)
    return bundle, bundle.scorer()


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Spark knows no dictionaries."""
    return pa.RecordBatch.from_arrays([deciding.plain(one) for one in batch.columns], batch.schema.names)


def _as_state(one: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.state() if name == "counts" else value for name, value in one.items()}


# ---- Rows of Parquet


def rows_of_parquet(names: Mapping[str, str], header: Sequence[str]) -> Callable[..., Located]:
    """`names`: how sentences name the files, by their paths. `header`: of the columns before the last two,
    which are the file's URI and the number of the row in its file, from 0."""

    def chunks(batches: Batches, features: Sequence[str]) -> Located:
        from batch.arrow_sources import ArrowRows  # imports pyarrow.parquet

        for batch in batches:
            *columns, uris, numbers = batch.columns
            whole = pa.RecordBatch.from_arrays(columns, list(header))
            for start, end in stretches(uris, numbers, 1):
                first = numbers[start].as_py() + 1
                file = names[path_of(uris[start].as_py())]
                yield (file, first), ArrowRows(whole.slice(start, end - start), first, features)

    return chunks


def path_of(uri: str) -> str:
    return unquote(urlparse(uri).path)


def stretches(uris: Any, numbers: Any, step: int) -> Iterator[tuple[int, int]]:
    """From where to where rows are of one file, and their numbers grow by `step`."""
    if not len(numbers):
        return
    files = arrow_columns.values(uris.dictionary_encode().indices)
    rows = arrow_columns.values(numbers)
    breaks = np.flatnonzero((np.diff(rows) != step) | (np.diff(files) != 0)) + 1
    ends = [0, *breaks.tolist(), len(rows)]
    yield from itertools.pairwise(ends)


# ---- Rows that were not decided on


def _as_batch(place: int, file: str, bad: Sequence[Bad]) -> pa.RecordBatch:
    rows = [
        {
            "place": place,
            "file": file,
            "row": one.row,
            "reason": one.reason,
            "cells": [*map(_cell, one.cells)],
        }
        for one in bad
    ]
    return pa.RecordBatch.from_pylist(rows, SET_ASIDE)


def _cell(value: object) -> str | None:
    """A number as it will be written."""
    if value is None or isinstance(value, str):
        return value
    return csv_cells.cell(_DELIMITER, repr, value)
