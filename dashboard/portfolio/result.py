"""What became of a portfolio: counts by label, and the decisions as files."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from dashboard.numbers import write_french


def as_csv(table: pa.Table) -> bytes:
    return _of_a_spreadsheet([table.column_names, *zip(*map(_cells, table.columns), strict=True)])


def example(features: Sequence[str], client: Mapping[str, float | None]) -> bytes:
    """A file of one client that can be decided on."""
    cells = ["" if (value := client.get(name)) is None else write_french(value) for name in features]
    return _of_a_spreadsheet([features, cells])


def _of_a_spreadsheet(rows: Iterable[Sequence[object]]) -> bytes:
    """As a French one opens it by a double click: its mark, semicolons, decimal commas."""
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=";").writerows(rows)
    return b"\xef\xbb\xbf" + text.getvalue().encode()


def _cells(column: pa.ChunkedArray) -> list[object]:
    values = column.to_pylist()
    if pa.types.is_floating(column.type):
        return ["" if value is None else write_french(value) for value in values]
    return ["" if value is None else value for value in values]


def as_parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()
