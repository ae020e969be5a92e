"""A CSV of clients: finds where its records begin, and sends them as they are, below the file's own head."""

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence

import pyarrow as pa

from dashboard.portfolio import files
from dashboard.portfolio.files import BadAnswer, BadFile

_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n|\Z)")
_DECLARATION = re.compile(rb'\A(?:\xef\xbb\xbf)?"?sep=([,;\t])"?(?:\r\n?|\n)', re.IGNORECASE)
_NO_VALUE = b',;\t" \r\n'
_LONGEST_RECORD = 64 * 1024  # as the API's
_CLIENTS, _BYTES = 5_000, 8 * 1024 * 1024  # of a part: half of what the API admits
_NOT_CSV = "Ce fichier n’est pas un CSV"


class CsvFile:
    media_type = "text/csv"

    def __init__(self, content: bytes, features: Sequence[str]) -> None:
        self._content, self._end = content, _end_of_values(content)
        declared = _DECLARATION.match(content)
        begin = declared.end() if declared else 3 * content.startswith(b"\xef\xbb\xbf")
        head = content[begin : begin + _LONGEST_RECORD]
        self._delimiter = declared[1].decode() if declared else _delimiter(head, features)
        self._names, end_of_head, self._lines_above = _header(head, self._delimiter)
        self._lines_above += declared is not None
        files.check_columns(self._names, features)
        self._head = content[: begin + end_of_head]
        self._starts = self._records(begin + end_of_head)
        self.rows = len(self._starts) - 1
        files.check_rows(self.rows)
        self.others = files.others(self._names, features)

    def spans(self) -> list[tuple[int, int]]:
        spans, start = [], 0
        for row in range(1, self.rows + 1):
            is_full = row - start >= _CLIENTS or self._starts[row] - self._starts[start] > _BYTES
            if is_full or row == self.rows:
                spans.append((start, row))
                start = row
        return spans

    def body(self, start: int, stop: int, keep: Sequence[str]) -> bytes:
        return self._head + self._content[self._starts[start] : self._starts[stop]]

    def decisions(self, answer: bytes, numbers: Collection[str]) -> pa.Table:
        try:
            text = io.StringIO(answer.decode("utf-8-sig"), newline="")
            names, *rows = csv.reader(text, delimiter=self._delimiter)
            columns = dict(zip(names, zip(*rows, strict=True), strict=True))
            return pa.table({name: self._column(cells, name in numbers) for name, cells in columns.items()})
        except (ValueError, csv.Error) as error:
            raise BadAnswer from error

    def _column(self, cells: Sequence[str], is_number: bool) -> pa.Array:
        if not is_number:
            return pa.array([cell or None for cell in cells], pa.string())
        point = "," if self._delimiter != "," else "."
        return pa.array([float(cell.replace(point, ".")) for cell in cells], pa.float64())

    def cells(self, row: int, names: Sequence[str]) -> list[str]:
        record = self._content[self._starts[row] : self._starts[row + 1]].decode(errors="replace")
        try:
            found = next(csv.reader(io.StringIO(record, newline=""), delimiter=self._delimiter), [])
        except csv.Error:
            found = []
        of_names = dict(zip(self._names, found, strict=False))  # a row that is refused may be short or long
        return [of_names.get(name, "") for name in names]

    def line(self, row: int) -> int:
        """Records that hold line ends count once, as the rows of a spreadsheet do."""
        return row + 1 + self._lines_above

    def empty_rows(self) -> list[int]:
        """Below them are clients: lines at the end do not count."""
        starts = self._starts
        return [
            row
            for row in range(self.rows)
            if starts[row + 1] - starts[row] <= len(self._names) + 2
            and not self._content[starts[row] : starts[row + 1]].strip(_NO_VALUE)
        ]

    def _records(self, begin: int) -> list[int]:
        """Where each record begins, and where the last one ends."""
        content = memoryview(self._content)[: self._end]
        is_quoted = self._content.find(b'"', begin, self._end) >= 0
        ends = _quoted_ends(content, begin, self._delimiter) if is_quoted else _line_ends(content, begin)
        starts = [begin]
        for end in ends:
            starts.append(end)
            if end - starts[-2] > _LONGEST_RECORD:
                line = self.line(len(starts) - 2)
                raise BadFile(f"{_NOT_CSV} : à la ligne {line}, un client dépasse 64 Kio.")
            if len(starts) > files.MOST_CLIENTS + 1:
                break
        return starts


def _end_of_values(content: bytes) -> int:
    """Where the line that holds the last value ends. Below it, spreadsheets write lines of delimiters."""
    end = len(content)
    while end:
        block = content[max(0, end - 65_536) : end]
        kept = len(block.rstrip(b",;\t\r\n"))
        end -= len(block) - kept
        if kept:
            break
    found = re.compile(rb"\r\n?|\n").search(content, end)
    return found.end() if found else len(content)


def _delimiter(head: bytes, features: Sequence[str]) -> str:
    """The one by which most names of features are found. The API has the last word."""
    wanted = set(features)
    return max(",;\t", key=lambda sign: len(wanted & set(_header(head, sign)[0])))


def _header(head: bytes, delimiter: str) -> tuple[list[str], int, int]:
    """The names, where the rest begins, and how many lines are above it. Raises BadFile."""
    end = next(_quoted_ends(memoryview(head), 0, delimiter), 0)
    try:
        text = head[:end].decode()
    except UnicodeDecodeError:
        raise BadFile(
            "Ce fichier n’est pas encodé en UTF-8. Dans le tableur, choisissez « CSV UTF-8 »."
        ) from None
    if end >= _LONGEST_RECORD:
        raise BadFile(f"{_NOT_CSV} : sa première ligne dépasse 64 Kio.")
    return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), []), end, 1


def _line_ends(content: memoryview, begin: int) -> Iterator[int]:
    for line in _LINE.finditer(content, begin):
        if line.end() > line.start():
            yield line.end()


def _quoted_ends(content: memoryview, begin: int, delimiter: str) -> Iterator[int]:
    """As the API finds them, by Python's reader. Latin-1 gives each byte a character. Raises BadFile."""
    end = begin

    def lines() -> Iterator[str]:
        nonlocal end
        for place in _line_ends(content, begin):
            line = str(content[end:place], "latin-1")
            end = place
            yield line

    try:
        for _ in csv.reader(lines(), delimiter=delimiter, strict=True):
            yield end
    except csv.Error as error:
        raise BadFile(f"{_NOT_CSV} : un guillemet est mal placé, ou jamais fermé.") from error
