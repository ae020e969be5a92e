"""Writes decided clients as Parquet, CSV, or Arrow's own file or stream."""

from collections.abc import Sequence
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from batch import cells, explaining
from batch.formats import ARROW, CSV, PARQUET
from features import csv_cells, csv_dialect
from features.csv_dialect import Dialect

PLAIN = Dialect(",")
UNDECODED = "backslashreplace"  # of names that the system has in no encoding
_ROW_GROUP = 131_072  # rows
_MANY_VALUES = ("probability_class_1", "probability_class_0")


def _has_many_values(name: str) -> bool:
    return name in _MANY_VALUES or explaining.is_of_points(name)


class Writer(Protocol):
    def write(self, batch: pa.RecordBatch) -> None: ...

    def close(self) -> None:
        """Write what is left. The stream stays open."""
        ...

    def abandon(self) -> None:
        """Write nothing any more."""
        ...


def of_format(name: str, stream: BinaryIO, schema: pa.Schema, decided: int, dialect: Dialect) -> Writer:
    """`decided`: how many of the last columns are the decision's. `dialect`: of a CSV. Raises Refused."""
    if name == CSV:
        for field in schema:
            cells.check(field.name, field.type)
        return CsvWriter(stream, schema.names, dialect)
    if name == PARQUET:
        return ParquetWriter(stream, schema, decided)
    make = pa.ipc.new_file if name == ARROW else pa.ipc.new_stream
    return ArrowWriter(make(stream, schema, options=pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)))


class ArrowWriter:
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch)

    def close(self) -> None:
        self._writer.close()

    def abandon(self) -> None: ...


class ParquetWriter:
    """Texts and the columns of the policy as dictionaries; numbers of which most differ as they are.

    Batches wait until they fill a row group: many small ones are slower to read.
    """

    def __init__(self, stream: BinaryIO, schema: pa.Schema, decided: int) -> None:
        own = schema.names[-decided:]
        few = [field.name for field in schema if pa.types.is_string(field.type)] + list(own)
        self._writer = pq.ParquetWriter(
            stream,
            schema,
            compression="zstd",
            use_dictionary=[name for name in few if not _has_many_values(name)],
        )
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        self._waiting.append(batch)
        self._rows += len(batch)
        if self._rows >= _ROW_GROUP:
            self._write()

    def close(self) -> None:
        self._write()
        self._writer.close()

    def abandon(self) -> None:
        self._writer.is_open = False  # otherwise pyarrow writes the rest when it is collected

    def _write(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting))
            self._waiting.clear()
            self._rows = 0


class CsvWriter:
    """In the dialect of the input if that is CSV; numbers as POST /predict/batch writes them.

    `names`: of the header; without names there is none.
    """

    def __init__(self, stream: BinaryIO, names: Sequence[str], dialect: Dialect) -> None:
        self._stream, self._dialect = stream, dialect
        if not names:
            return
        mark = csv_dialect.BYTE_ORDER_MARK if dialect.is_marked else ""
        self._stream.write(f"{mark}{csv_cells.header(names, dialect)}\r\n".encode(errors=UNDECODED))

    def write(self, batch: pa.RecordBatch) -> None:
        columns = {
            name: cells.of(name, column)
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        }
        self._write(csv_cells.lines(columns, self._dialect, self._dialect.has_decimal_commas))

    def write_cells(self, rows: Sequence[Sequence[object]]) -> None:
        """Rows of any number of cells."""
        delimiter = self._dialect.delimiter
        self._write(delimiter.join(csv_cells.cell(delimiter, repr, one) for one in row) for row in rows)

    def _write(self, lines: Any) -> None:
        self._stream.write("".join(f"{line}\r\n" for line in lines).encode(errors=UNDECODED))

    def close(self) -> None:
        self._stream.flush()

    def abandon(self) -> None: ...
