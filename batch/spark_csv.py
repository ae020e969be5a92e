"""CSV on Spark: Spark cuts files into blocks of whole lines, and this project's own reader reads their cells.

Two passes. The first one counts the lines of each block, so that each row has its number in its file, and
finds what lines alone cannot tell: cells with line ends in them. The second one decides.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batch.clients import Clients
from batch.csv_source import CsvReader, CsvSource, of_lines
from batch.errors import Refused
from batch.spark_task import path_of, stretches
from features.csv_dialect import Dialect
from features.csv_table import Table

LINE_END = "\n"
COUNTED = pa.schema(
    {"path": pa.utf8(), "start": pa.int64(), "lines": pa.int64(), "filled": pa.int64(), "torn": pa.bool_()}
)

_WAY_OUT = "score it without --engine spark, or save it as Parquet"


@dataclass(frozen=True)
class Rows:
    """Of a block. `first`: the number of its first row, from 1. `skipped`: lines of the header before it."""

    first: int
    count: int
    skipped: int


@dataclass(frozen=True)
class CsvFile:
    """`blocks`: by where they begin in the file."""

    name: str
    header: Sequence[str]
    dialect: Dialect
    kept: Sequence[str]
    blocks: Mapping[int, Rows]

    def reader(self, features: Sequence[str]) -> CsvReader:
        return CsvReader(self.name, Table(self.dialect, [*self.header], iter(())), features, self.kept)


def located(source: CsvSource, counted: Sequence[Mapping[str, Any]]) -> CsvFile:
    """`counted`: what `count` found in the blocks of this file. Raises Refused."""
    if any(block["torn"] for block in counted) or not source.has_header_in_lines:
        raise Refused(f"{source.name}: a cell holds the end of a line, and Spark reads lines: {_WAY_OUT}")
    blocks = {}
    row, skipped = 1, source.header_lines
    ordered = sorted(counted, key=lambda block: int(block["start"]))
    last = max((n for n, block in enumerate(ordered) if block["filled"]), default=0)
    for n, block in enumerate(ordered):
        lines = block["filled"] if n == last else block["lines"] if n < last else 0
        if n < last and block["filled"] < block["lines"]:
            raise Refused(f"{source.name}: lines without a value stand where Spark cuts the file: {_WAY_OUT}")
        if n == 0 and lines < skipped:
            raise Refused(f"{source.name}: the header is longer than what Spark reads at once: {_WAY_OUT}")
        blocks[int(block["start"])] = Rows(row, lines - skipped, skipped)
        row, skipped = row + lines - skipped, 0
    return CsvFile(source.name, source.header, source.dialect, source.reader.kept, blocks)


# ---- On executors


def count(delimiters: Mapping[str, str]) -> Callable[[Any], Any]:
    """For `mapInArrow`. `delimiters`: by the files' paths."""

    def counted(batches: Any) -> Any:
        found: dict[tuple[str, int], list[Any]] = {}
        for path, start, lines in _stretches(batches):
            one = found.setdefault((path, start), [0, 0, False])
            filled = _last_filled(lines, delimiters[path])
            if filled:
                one[1] = one[0] + filled
            one[0] += len(lines)
            one[2] = one[2] or _is_torn(lines)
        rows = [dict(zip(COUNTED.names, (*place, *one), strict=True)) for place, one in found.items()]
        yield pa.RecordBatch.from_pylist(rows, COUNTED)

    return counted


def rows_of_csv(files: Mapping[str, CsvFile]) -> Callable[..., Any]:
    """`files`: by their paths."""

    def chunks(batches: Any, features: Sequence[str]) -> Any:
        block: _Block | None = None
        for path, start, lines in _stretches(batches):
            if block is None or block.place != (path, start):
                file = files[path]
                if start not in file.blocks:
                    raise Refused(f"{file.name} was changed while it was read")
                block = _Block((path, start), file, file.reader(features))
            if (chunk := block.next(lines)) is not None:
                yield (block.file.name, chunk.first), chunk

    return chunks


@dataclass(frozen=True)
class _Lines:
    reader: CsvReader
    content: bytes
    first: int

    def clients(self) -> Clients:
        return of_lines(self.reader, self.content, self.first)


class _Block:
    """A block of a file that comes in several batches."""

    def __init__(self, place: tuple[str, int], file: CsvFile, reader: CsvReader) -> None:
        self.place, self.file, self._reader = place, file, reader
        rows = file.blocks[place[1]]
        self._skipped, self._left, self._row = rows.skipped, rows.count, rows.first
        self._held: list[bytes] = []

    def next(self, lines: Any) -> _Lines | None:
        """Of the next lines. Those without a value wait for one behind them: otherwise they were the end."""
        skipped = min(self._skipped, len(lines))
        self._skipped -= skipped
        taken = [*self._held, *lines[skipped:].to_pylist()]
        taken = taken[: self._left]
        blank = self._reader.table.dialect.delimiter.encode() + b"\r"
        filled = len(taken)
        while filled and not taken[filled - 1].strip(blank):
            filled -= 1
        self._held = taken[filled:]
        if not filled:
            return None
        found = _Lines(self._reader, b"".join(line + b"\n" for line in taken[:filled]), self._row)
        self._left -= filled
        self._row += filled
        return found


def _stretches(batches: Any) -> Iterator[tuple[str, int, Any]]:
    """The lines of one block of one file, as bytes."""
    for batch in batches:
        lines, uris, starts = batch.columns
        for start, end in stretches(uris, starts, 0):
            yield path_of(uris[start].as_py()), starts[start].as_py(), lines[start:end]


def _last_filled(lines: Any, delimiter: str) -> int:
    """How many lines there are up to the last one with a value."""
    is_blank = pc.match_substring_regex(lines, f"^[{delimiter}\r]*$")
    for place in range(len(lines) - 1, -1, -1):
        if not is_blank[place].as_py():
            return place + 1
    return 0


def _is_torn(lines: Any) -> bool:
    """Whether a line ends within a cell, or has another end in it."""
    quotes = pc.count_substring(lines, b'"')
    is_open = pc.any(pc.equal(pc.bit_wise_and(quotes, 1), 1)).as_py()
    return bool(is_open or pc.any(pc.match_substring_regex(lines, "\r.")).as_py())
