"""A batch as CSV: a header, one line a client, nothing for null, numbers as in JSON or with a decimal comma.

By RFC 4180, or in another dialect that spreadsheets write (features/csv_dialect.py). The answer is in the
same one.
"""

import csv
import functools
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from api.deciding.formats import checked_columns, kept_columns, text_rows
from api.deciding.formats.checked_columns import Column
from api.deciding.formats.clients import Clients
from api.paths import MOST_IN_TEXT, PREDICT
from features import csv_dialect
from features.csv_dialect import FRACTION, INTEGER, LONGEST_INTEGER, Dialect
from mlflow_model.errors import BadData, BadRow, MissingFeatures, NotUtf8, TooManyClients

MEDIA_TYPE = "text/csv; charset=utf-8"

_SURELY_EXACT = r"-?(?:0|[1-9][0-9]{0,14}+)" + FRACTION  # an integer of 16 digits may not fit in a double
_INTEGER_CELL = re.compile(INTEGER)
_NUMBER_CELL = re.compile(INTEGER + FRACTION)
_PLAIN_CELLS = re.compile(rf"(?:{_SURELY_EXACT})?(?:;(?:{_SURELY_EXACT})?)*{csv_dialect.POSSESSIVE}")
_FAULTS = {
    r"(?i: *+(?:null|none|nan|#?n/?a) *+)": (
        "doit être un nombre : laissez la cellule vide si la valeur est inconnue"
    ),
    r"(?i: *+[-+]?(?:inf|infini|infinity|∞) *+)": "doit être un nombre fini, et non infini",
    r"[-+]?[0-9]{1,3}(?:[ \u00a0\u202f'.][0-9]{3})+(?:\.[0-9]*)?": (
        "doit être un nombre sans séparateur de milliers"
    ),
}


def read(body: bytes, features: Sequence[str], keep: Sequence[str]) -> Clients:
    """The clients of a table. A text that is no number stays a text, which the scorer refuses."""
    dialect, table = csv_dialect.opened(_decoded(body))
    lines = _Lines(dialect.without_empty_end(table))
    records = csv.reader(lines, delimiter=dialect.delimiter, strict=True)
    try:
        header = next(records, None)
        if header is None:
            raise MissingFeatures(features)
        wanted = checked_columns.positions(header, features, keep)
        places = list(wanted.values())
        rows = [
            [cells[place] for place in places] for cells in _rows(records, lines, csv_dialect.Width(header))
        ]
    except csv.Error as error:
        raise BadData("le corps de la requête n’est pas un CSV valide") from error
    columns = dict(zip(wanted, zip(*rows, strict=True) if rows else [()] * len(wanted), strict=True))
    has_commas = dialect.has_decimal_commas and any("," in ";".join(columns[name]) for name in features)
    kept = {name: _kept(name, columns[name]) for name in keep}
    return Clients(
        {name: _column(columns[name], dialect) for name in features},
        lambda decisions: _written({**kept, **decisions}, dialect, has_commas),
        _fault,
    )


def _written(columns: Mapping[str, Column], dialect: Dialect, has_commas: bool) -> bytes:
    """Columns under their names, with CRLF line ends, in the dialect of the request."""
    number = _with_comma if has_commas else repr
    cell = functools.partial(_cell, dialect.delimiter, number)
    header = dialect.delimiter.join(map(cell, columns))
    template = dialect.delimiter.join(["%s"] * len(columns))
    lines = text_rows.lines(columns, template, cell, number)
    mark = csv_dialect.BYTE_ORDER_MARK if dialect.is_marked else ""
    return (mark + "\r\n".join([header, *lines, ""])).encode()


def _with_comma(number: float) -> str:
    return repr(number).replace(".", ",")


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


def _check_width(width: csv_dialect.Width, row: int, cells: Sequence[str]) -> None:
    if not width.fits(cells):
        raise BadRow(row, "le nombre de cellules n’est pas celui de l’en-tête")
    if width.has_nameless_value(cells):
        raise BadRow(row, "une colonne sans nom contient une valeur : nommez-la ou videz-la")


def _rows(records: Iterator[list[str]], lines: _Lines, width: csv_dialect.Width) -> Iterator[list[str]]:
    lines.next_record()
    for row, cells in enumerate(records, start=1):
        if row > MOST_IN_TEXT:
            raise TooManyClients(MOST_IN_TEXT)
        _check_width(width, row, cells)
        yield cells
        lines.next_record()


def _decoded(body: bytes) -> str:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise NotUtf8(" ; dans un tableur, enregistrez au format « CSV UTF-8 »") from error
    if "\0" in text:
        raise BadData("le corps de la requête n’est pas un CSV valide")
    return text


def _column(cells: Sequence[str], dialect: Dialect) -> Column:
    """Doubles where every cell is plainly a number; otherwise Python objects, for the scorer to judge."""
    joined = dialect.with_points(";".join(cells))
    if joined.count(";") == max(len(cells) - 1, 0) and _PLAIN_CELLS.fullmatch(joined):
        return np.fromiter((float(cell or "nan") for cell in joined.split(";")), np.float64, len(cells))
    return np.fromiter((_value(dialect.with_points(cell)) for cell in cells), object, len(cells))


def _kept(name: str, cells: Sequence[str]) -> Column:
    for row, cell in enumerate(cells, start=1):
        kept_columns.check_length(name, row, cell)
    return np.fromiter((cell or None for cell in cells), object, len(cells))


def _value(cell: str) -> float | str | None:
    if not cell:
        return None
    if _INTEGER_CELL.fullmatch(cell):
        return int(cell) if len(cell) <= LONGEST_INTEGER else float("inf")
    return float(cell) if _NUMBER_CELL.fullmatch(cell) else cell


def _fault(value: object) -> str | None:
    cell = value if isinstance(value, str) else ""
    return next((fault for form, fault in _FAULTS.items() if re.fullmatch(form, cell)), None)


def _cell(delimiter: str, number: Callable[[float], str], value: object) -> str:
    """Texts quoted where they must be, so that an empty one is not taken for null; the others as in JSON."""
    if value is None:
        return ""
    if isinstance(value, float):
        return number(value)
    if not isinstance(value, str):
        return json.dumps(value)
    is_plain = value and not any(sign in value for sign in (delimiter, '"', "\r", "\n"))
    return value if is_plain else '"' + value.replace('"', '""') + '"'
