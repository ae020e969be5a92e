"""What became of a portfolio: counts by label, and the decisions as files."""

import csv
import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dashboard.numbers import write_french


def counted(table: pa.Table, labels: Sequence[str]) -> list[int]:
    """How many clients have each label."""
    found = {one["values"]: one["counts"] for one in pc.value_counts(table["prediction"]).to_pylist()}
    return [found.get(label, 0) for label in labels]


def chosen(table: pa.Table, labels: Sequence[str]) -> pa.Table:
    return table.filter(pc.is_in(table["prediction"], pa.array(labels, pa.string())))


def as_csv(table: pa.Table) -> bytes:
    """As a French spreadsheet opens it by a double click: its mark, semicolons, decimal commas."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=";")
    writer.writerow(table.column_names)
    writer.writerows(zip(*(_cells(column) for column in table.columns), strict=True))
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
