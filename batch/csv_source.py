"""CSV as chunks of clients: in any dialect of features/csv_dialect.py, with the refusals of /predict/batch.

Blocks of lines without a quote are read by pyarrow, in any thread, where every cell of a feature is plainly a
number. Whatever else there is, is read row by row, by the code that reads a batch of the API. Both give the
same values: a number in digits is one double, and pyarrow rounds to it as Python does.
"""

import codecs
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from batch.arrow_sources import check_header
from batch.clients import Bad, Clients, is_small
from batch.errors import Refused
from batch.raw_input import RawInput
from features import arrow_columns, csv_cells, csv_dialect, csv_table
from features.arrow_columns import Column
from features.csv_table import Row, Table

LONGEST_ROW = 64 * 1024  # characters, as for a batch of the API
_BLOCK = 2 * 1024 * 1024  # bytes
_ROWS = 8_192  # of those that are read one by one
_NOT_UTF8 = "{} is not encoded in UTF-8: in a spreadsheet, save it as « CSV UTF-8 »"


class CsvSource:
    """A file, or standard input."""

    def __init__(self, raw: RawInput, features: Sequence[str]) -> None:
        self.name, self._raw, self._features = raw.name, raw, features
        self._beginning, self._table, self._rest = self._opened(raw.stream)
        self.header = self._table.header
        self.dialect = self._table.dialect
        if not self.header:
            raise Refused(f"{self.name} is empty")
        named = [name for name in self.header if name.strip()]
        check_header(self.name, named, features)
        self._kept = [name for name in named if name not in features]
        self.schema = pa.schema([(name, pa.utf8()) for name in self._kept])
        self.has_header_in_lines = self._rest is None
        self.header_lines = 1 + self.dialect.is_declared
        self.reader = CsvReader(self.name, self._table, features, self._kept)

    def share(self) -> float | None:
        return self._raw.share()

    def chunks(self) -> Iterator["Lines | _Rows"]:
        reader = self.reader
        if self._rest is not None:
            yield from _row_by_row(reader, self._rest, 1)
            return
        first, left = 1, self._beginning
        stream = self._raw.stream
        while True:
            block, left, is_last = _next_block(left, stream)
            if not block:
                return
            if len(self.header) == 1 or not _is_plain(block, reader.table.dialect.delimiter):
                chained = io.BufferedReader(_Chained(block + left, stream))
                text = io.TextIOWrapper(chained, "utf-8", newline="")
                yield from _row_by_row(reader, csv_table.continued(text, self._table, LONGEST_ROW), first)
                return
            rows = block.count(b"\n")
            yield Lines(reader, block, first)
            first += rows
            if is_last:
                return

    def _opened(self, stream: BinaryIO) -> tuple[bytes, Table, Iterator[Row] | None]:
        """What follows the header, and the table; its rows only where they must be read one by one."""
        beginning = _read(stream, _BLOCK)
        head, end, rest = beginning.partition(b"\n")
        if head.decode("utf-8", "replace").lstrip(csv_dialect.BYTE_ORDER_MARK).lower().startswith("sep="):
            declared, end, rest = rest.partition(b"\n")
            head += b"\n" + declared
        try:
            if end and _is_one_line(head):
                table = csv_table.opened(io.StringIO(head.decode() + "\n", newline=""), LONGEST_ROW)
                return rest, table, None
            text = io.TextIOWrapper(io.BufferedReader(_Chained(beginning, stream)), "utf-8", newline="")
            table = csv_table.opened(text, LONGEST_ROW)
        except (UnicodeDecodeError, csv_table.NoCsv, csv_table.TooLong) as error:
            raise _in_words(self.name, error) from error
        return b"", table, table.rows


def _is_one_line(head: bytes) -> bool:
    """Whether the header ends where its first line does, so that blocks of lines can follow it."""
    is_closed = head.count(b'"') % 2 == 0
    is_whole = b"\r" not in head.replace(b"\r\n", b"").removesuffix(b"\r")
    return is_closed and is_whole and len(head) < LONGEST_ROW


def _in_words(name: str, error: ValueError) -> Refused:
    if isinstance(error, UnicodeDecodeError):
        return Refused(_NOT_UTF8.format(name))
    if isinstance(error, csv_table.TooLong):
        return Refused(f"{name}: a row is longer than {LONGEST_ROW // 1024} KiB")
    return Refused(
        f"{name} is no CSV: a quote is not closed, a byte is 0, or thousands of lines without a value differ"
    )


@dataclass(frozen=True)
class CsvReader:
    """How the rows of one file become clients."""

    name: str
    table: Table
    features: Sequence[str]
    kept: Sequence[str]

    def of_rows(self, rows: Sequence[Row], first: int) -> Clients:
        whole = [place for place, row in enumerate(rows) if row.fault is None]
        bad = [
            Bad(first + n, row.fault, self._as_they_came(row.cells))
            for n, row in enumerate(rows)
            if row.fault is not None
        ]
        cells = [rows[place].cells for place in whole]
        columns = dict(zip(self.table.header, zip(*cells, strict=False), strict=False)) if cells else {}
        values = {name: csv_cells.column(columns.get(name, ()), self.table.dialect) for name in self.features}
        texts = [arrow_columns.texts([cell or None for cell in columns.get(name, ())]) for name in self.kept]
        return Clients(
            values,
            _record_batch(self.kept, texts),
            [first + place for place in whole],
            lambda place: self._as_they_came(cells[place]),
            csv_cells.fault,
            bad,
        )

    def _as_they_came(self, cells: Sequence[str]) -> list[str | None]:
        """None for an empty cell, which would be written in quotes. A whole row has none for no name."""
        header = self.table.header
        named = (
            [cell for name, cell in zip(header, cells, strict=True) if name.strip()]
            if len(cells) == len(header)
            else cells
        )
        return [cell or None for cell in named]


@dataclass(frozen=True)
class _Rows:
    """Rows whose cells are told apart already. `first`: the number of the first one, from 1."""

    reader: CsvReader
    rows: Sequence[Row]
    first: int

    @property
    def is_small(self) -> bool:
        return is_small(len(self.rows), _ROWS)

    def clients(self) -> Clients:
        return self.reader.of_rows(self.rows, self.first)


@dataclass(frozen=True)
class Lines:
    """Whole lines without a quote, as bytes."""

    reader: CsvReader
    block: bytes
    first: int

    @property
    def is_small(self) -> bool:
        return is_small(len(self.block), _BLOCK)

    def clients(self) -> Clients:
        columns = _split(self.block, self.reader.table)
        values = None if columns is None else _plain_values(columns, self.reader)
        if columns is None or values is None:
            return self.row_by_row()
        texts = [columns[name].combine_chunks() for name in self.reader.kept]
        rows = len(columns[self.reader.features[0]])
        return Clients(
            values,
            _record_batch(self.reader.kept, texts),
            range(self.first, self.first + rows),
            lambda place: [
                columns[name][place].as_py() for name in self.reader.table.header if name in columns
            ],
            csv_cells.fault,
        )

    def row_by_row(self) -> Clients:
        text = io.TextIOWrapper(io.BytesIO(self.block), "utf-8", newline="")
        try:
            rows = list(csv_table.continued(text, self.reader.table, LONGEST_ROW))
        except (UnicodeDecodeError, csv_table.NoCsv, csv_table.TooLong) as error:
            raise _in_words(self.reader.name, error) from error
        return self.reader.of_rows(rows, self.first)


def of_lines(reader: CsvReader, block: bytes, first: int) -> Clients:
    """Of rows that end where their lines end, with quotes or without."""
    lines = Lines(reader, block, first)
    is_plain = len(reader.table.header) > 1 and _is_plain(block, reader.table.dialect.delimiter)
    return lines.clients() if is_plain else lines.row_by_row()


def _record_batch(names: Sequence[str], arrays: Sequence[Any]) -> pa.RecordBatch:
    """One of texts."""
    kinds = [array.cast(pa.utf8()) if array.type != pa.utf8() else array for array in arrays]
    return pa.RecordBatch.from_arrays(kinds, names=list(names))


def _split(block: bytes, table: Table) -> Mapping[str, Any] | None:
    """The cells by column, nothing being null; None where not every row has a cell for each name."""
    names = [str(place) for place in range(len(table.header))]
    try:
        found = pyarrow.csv.read_csv(
            pa.BufferReader(block),
            pyarrow.csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=names),
            pyarrow.csv.ParseOptions(
                delimiter=table.dialect.delimiter, quote_char=False, ignore_empty_lines=False
            ),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.utf8()), null_values=[""], strings_can_be_null=True
            ),
        )
    except pa.ArrowInvalid:
        return None
    columns = list(zip(table.header, found.columns, strict=True))
    if any(column.null_count < len(column) for name, column in columns if not name.strip()):
        return None
    return {name: column for name, column in columns if name.strip()}


def _plain_values(columns: Mapping[str, Any], reader: CsvReader) -> dict[str, Column] | None:
    """The features' doubles; None where a cell is not plainly a number."""
    values = {}
    for name in reader.features:
        cells = columns[name].combine_chunks()
        if reader.table.dialect.has_decimal_commas:
            cells = pc.replace_substring(cells, ",", ".")
        if pc.all(pc.match_substring_regex(cells, csv_cells.SURELY_EXACT_RE2)).as_py() is False:
            return None
        values[name] = arrow_columns.values(cells.cast(pa.float64()))
    return values


# ---- Blocks of bytes


def _next_block(left: bytes, stream: BinaryIO) -> tuple[bytes, bytes, bool]:
    """Whole lines, the bytes behind them, and whether the stream has ended. The last line gets an end.

    Where no line ends, all of the bytes: they are no whole lines.
    """
    more = _read(stream, _BLOCK)
    content = left + more
    if len(more) < _BLOCK:
        is_cut = content and not content.endswith(b"\n")
        return content + b"\n" if is_cut else content, b"", True
    end = content.rfind(b"\n") + 1 or len(content)
    return content[:end], content[end:], False


def _read(stream: BinaryIO, most: int) -> bytes:
    """So many bytes unless the stream ends before: a pipe gives fewer at a time."""
    parts = []
    while most > 0 and (part := stream.read(most)):
        parts.append(part)
        most -= len(part)
    return b"".join(parts)


def _is_plain(block: bytes, delimiter: str) -> bool:
    """Whether each line is a row: without quotes or other line ends, none too long, the last not empty."""
    if block.startswith(codecs.BOM_UTF8):  # pyarrow would leave it out
        return False
    if b'"' in block or b"\0" in block or block.count(b"\r") != block.count(b"\r\n"):
        return False
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n"))
    if not len(ends) or ends[-1] != len(block) - 1 or np.diff(ends, prepend=-1).max() > LONGEST_ROW:
        return False
    last = block[ends[-2] + 1 if len(ends) > 1 else 0 :]
    return bool(last.strip(delimiter.encode() + b"\r\n"))


class _Chained(io.RawIOBase):
    """Bytes that were read already, then the rest of their stream."""

    def __init__(self, before: bytes, stream: BinaryIO) -> None:
        self._before, self._stream = memoryview(before), stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._before:
            part = bytes(self._before[: len(buffer)])
            self._before = self._before[len(part) :]
        else:
            part = self._stream.read(len(buffer)) or b""
        buffer[: len(part)] = part
        return len(part)


def _row_by_row(reader: CsvReader, rows: Iterator[Row], first: int) -> Iterator[_Rows]:
    found: list[Row] = []
    try:
        for row in rows:
            found.append(row)
            if len(found) == _ROWS:
                yield _Rows(reader, found, first)
                first += len(found)
                found = []
    except (UnicodeDecodeError, csv_table.NoCsv, csv_table.TooLong) as error:
        raise _in_words(reader.name, error) from error
    if found:
        yield _Rows(reader, found, first)
