"""Reads a table of CSV row by row, in any dialect of features/csv_dialect.py, with a bound on each row."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO

from features import csv_dialect
from features.csv_dialect import Dialect, Width

_MOST_EMPTY = 10_000  # changes of form among lines without a value, one behind the other
_RAGGED = "le nombre de cellules n’est pas celui de l’en-tête"
_NAMELESS = "une colonne sans nom contient une valeur : nommez-la ou videz-la"


class NoCsv(ValueError):
    """The text is no table. Nothing can be said of a single row."""


class TooLong(ValueError):
    """A row, or the header, is longer than the bound."""


@dataclass(frozen=True)
class Row:
    """`fault`: why its cells cannot be told apart, in French; None if they can."""

    cells: list[str]
    fault: str | None


@dataclass(frozen=True)
class Table:
    """`header`: empty if there is none. `rows` raises NoCsv, TooLong, and UnicodeDecodeError."""

    dialect: Dialect
    header: list[str]
    rows: Iterator[Row]


def opened(stream: TextIO, longest: int) -> Table:
    """The table in a text, which must be opened with `newline=""`. `longest`: characters of a row.

    Lines at the end that hold nothing but delimiters are left out. Raises as `rows` does.
    """
    lines = _Lines(stream, longest)
    beginning = lines.header()
    dialect, table = csv_dialect.opened(beginning)
    lines.delimiter = dialect.delimiter
    try:
        first = next(csv.reader(io.StringIO(table, newline=""), delimiter=dialect.delimiter, strict=True), [])
    except csv.Error as error:
        raise NoCsv from error
    return Table(dialect, first, _rows(lines, first, dialect))


def continued(stream: TextIO, table: Table, longest: int) -> Iterator[Row]:
    """Rows of the same table without its header, as `rows` of it gives them."""
    lines = _Lines(stream, longest)
    lines.delimiter = table.dialect.delimiter
    return _rows(lines, table.header, table.dialect)


def _rows(lines: "_Lines", header: list[str], dialect: Dialect) -> Iterator[Row]:
    width = Width(header)
    reader = csv.reader(lines, delimiter=dialect.delimiter, strict=True)
    lines.next_record()
    try:
        for cells in reader:
            yield Row(cells, _fault(width, cells))
            lines.next_record()
    except csv.Error as error:
        raise NoCsv from error


def _fault(width: Width, cells: list[str]) -> str | None:
    if not width.fits(cells):
        return _RAGGED
    return _NAMELESS if width.has_nameless_value(cells) else None


class _Lines:
    """Lines with their ends. A record, which may hold quoted line ends, must not grow without bound.

    Lines without a value are held back until another one comes: those at the end are no rows.
    """

    delimiter = ""

    def __init__(self, stream: TextIO, longest: int) -> None:
        self._stream, self._longest, self._length = stream, longest, 0

    def header(self) -> str:
        """The text up to the end of the header, which may hold quoted line ends."""
        text, quotes = "", 0
        while line := self._next():
            text += self._counted(line)
            quotes += line.count('"')
            if quotes % 2 == 0 and csv_dialect.opened(text)[1]:
                break
        return text

    def __iter__(self) -> Iterator[str]:
        held: list[tuple[str, int]] = []
        while line := self._next():
            if line.strip(self.delimiter + "\r\n"):
                for empty, times in held:
                    for _ in range(times):
                        yield self._counted(empty)
                held.clear()
                yield self._counted(line)
            else:
                times = held.pop()[1] if held and held[-1][0] == line else 0
                held.append((line, times + 1))
                if len(held) > _MOST_EMPTY:
                    raise NoCsv

    def next_record(self) -> None:
        self._length = 0

    def _counted(self, line: str) -> str:
        self._length += len(line)
        if self._length > self._longest:
            raise TooLong
        return line

    def _next(self) -> str:
        line = self._stream.readline(self._longest + 1)
        if len(line) > self._longest:
            raise TooLong
        if "\0" in line:
            raise NoCsv
        return line
