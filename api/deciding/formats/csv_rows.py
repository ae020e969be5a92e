"""A batch as CSV by RFC 4180: a header, one line a client, numbers written as in JSON, nothing for null."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from api.deciding.formats import checked_columns, text_rows
from api.deciding.formats.checked_columns import Column
from api.paths import PREDICT
from mlflow_model.errors import BadData, BadRow, MissingFeatures, NotUtf8, TooManyClients

MEDIA_TYPE = "text/csv; charset=utf-8"
ROW_LIMIT = 10_000

_INTEGER = r"-?+(?:0|[1-9][0-9]*+)"
_FRACTION = r"(?:\.[0-9]++)?+(?:[eE][-+]?+[0-9]++)?+"
_SURELY_EXACT = r"-?+(?:0|[1-9][0-9]{0,14}+)" + _FRACTION  # an integer of 16 digits may not fit in a double
_INTEGER_CELL = re.compile(_INTEGER)
_NUMBER_CELL = re.compile(_INTEGER + _FRACTION)
_PLAIN_CELLS = re.compile(rf"(?:{_SURELY_EXACT})?+(?:,(?:{_SURELY_EXACT})?+)*+")
_LONGEST_INTEGER = 400  # digits; a longer one is out of the range of doubles, and int() would take its time


def read(body: bytes, features: Sequence[str]) -> dict[str, Column]:
    """The clients' values by feature. A text that is no number stays a text, which the scorer refuses."""
    lines = _Lines(_decoded(body))
    records = csv.reader(lines, strict=True)
    try:
        header = next(records, None)
        if header is None:
            raise MissingFeatures(features)
        wanted = list(checked_columns.positions(header, features).values())
        rows = [[cells[place] for place in wanted] for cells in _rows(records, lines, len(header))]
    except csv.Error as error:
        raise BadData("le corps de la requête n’est pas un CSV valide") from error
    columns = zip(*rows, strict=True) if rows else [()] * len(features)
    return {name: _column(cells) for name, cells in zip(features, columns, strict=True)}


def write(decisions: Mapping[str, Column]) -> bytes:
    """The decision's own columns under their names, with CRLF line ends."""
    header = ",".join(map(_cell, decisions))
    template = ",".join(["%s"] * len(decisions))
    return "\r\n".join([header, *text_rows.lines(decisions, template, _cell), ""]).encode()


class _Lines:
    """Lines with their ends. A record, which may hold quoted line ends, must not grow without bound."""

    def __init__(self, text: str) -> None:
        self._lines = io.StringIO(text, newline="")
        self._length = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self._length += len(line)
            if self._length > PREDICT.body_limit:
                raise BadData(f"une ligne du CSV dépasse la limite de {PREDICT.body_limit // 1024} Kio")
            yield line

    def next_record(self) -> None:
        self._length = 0


def _rows(records: Iterator[list[str]], lines: _Lines, width: int) -> Iterator[list[str]]:
    lines.next_record()
    for row, cells in enumerate(records, start=1):
        if row > ROW_LIMIT:
            raise TooManyClients(ROW_LIMIT)
        if len(cells) != width:
            raise BadRow(row, "le nombre de cellules n’est pas celui de l’en-tête")
        yield cells
        lines.next_record()


def _decoded(body: bytes) -> str:
    """Spreadsheets put a byte order mark before UTF-8: it is no part of the first name."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotUtf8 from error
    if "\0" in text:
        raise BadData("le corps de la requête n’est pas un CSV valide")
    return text


def _column(cells: Sequence[str]) -> Column:
    """Doubles where every cell is plainly a number; otherwise Python objects, for the scorer to judge."""
    joined = ",".join(cells)
    if joined.count(",") == max(len(cells) - 1, 0) and _PLAIN_CELLS.fullmatch(joined):
        return np.fromiter((float(cell or "nan") for cell in cells), np.float64, len(cells))
    return np.fromiter(map(_value, cells), object, len(cells))


def _value(cell: str) -> float | str | None:
    if not cell:
        return None
    if _INTEGER_CELL.fullmatch(cell):
        return int(cell) if len(cell) <= _LONGEST_INTEGER else float("inf")
    return float(cell) if _NUMBER_CELL.fullmatch(cell) else cell


def _cell(value: object) -> str:
    """Texts quoted where they must be, so that an empty one is not taken for null; the others as in JSON."""
    if not isinstance(value, str):
        return "" if value is None else json.dumps(value)
    cell = io.StringIO()
    csv.writer(cell, lineterminator="").writerow([value])
    return cell.getvalue()
