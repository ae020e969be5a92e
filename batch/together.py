"""Takes small chunks of many files together: to decide on a few clients costs nearly what many cost."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from batch.clients import MOST_TOGETHER, Chunk, Clients, Source
from features.arrow_columns import Column


def grouped(chunks: Iterable[tuple[Source, Chunk]]) -> Iterator[list[tuple[Source, Chunk]]]:
    """The chunks in their order, small ones that follow each other together."""
    group: list[tuple[Source, Chunk]] = []
    for source, chunk in chunks:
        if group and (len(group) == MOST_TOGETHER or not chunk.is_small):
            yield group
            group = []
        group.append((source, chunk))
        if not chunk.is_small:
            yield group
            group = []
    if group:
        yield group


def merged(several: Sequence[Clients]) -> tuple[Mapping[str, Column], pa.RecordBatch]:
    """The values and the other columns of all of them, behind each other."""
    if len(several) == 1:
        return several[0].values, several[0].others
    values = {name: np.concatenate([one.values[name] for one in several]) for name in several[0].values}
    return values, _joined([one.others for one in several])


def place(several: Sequence[tuple[str, Clients]], number: int) -> str:
    """Where one of them is, as a sentence names it. `number`: among all of them, from 0.

    `several`: each with the name of its file.
    """
    for file, clients in several:
        if number < len(clients.rows):
            return f"{file}, row {clients.rows[number]}"
        number -= len(clients.rows)
    raise IndexError


def _joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    if not batches[0].num_columns:
        return batches[0]
    columns = [
        pa.concat_arrays([batch.column(place) for batch in batches])
        for place in range(batches[0].num_columns)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batches[0].schema)
