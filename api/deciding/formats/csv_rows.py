"""A batch as CSV: a header, one line a client, nothing for null, numbers as in JSON or with a decimal comma.

By RFC 4180, or in another dialect that spreadsheets write (features/csv_dialect.py). The answer is in the
same one.
"""

import io
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from api.deciding.formats import checked_columns, kept_columns
from api.deciding.formats.checked_columns import Column
from api.deciding.formats.clients import Clients
from api.paths import MOST_IN_TEXT, PREDICT
from features import csv_cells, csv_dialect, csv_table
from features.csv_dialect import Dialect
from mlflow_model.errors import BadData, BadRow, MissingFeatures, NotUtf8, TooManyClients

MEDIA_TYPE = "text/csv; charset=utf-8"


def read(body: bytes, features: Sequence[str], keep: Sequence[str]) -> Clients:
    """The clients of a table. A text that is no number stays a text, which the scorer refuses."""
    try:
        table = csv_table.opened(io.StringIO(_decoded(body), newline=""), PREDICT.body_limit)
        if not table.header:
            raise MissingFeatures(features)
        wanted = checked_columns.positions(table.header, features, keep)
        places = list(wanted.values())
        rows = [[cells[place] for place in places] for cells in _checked(table.rows)]
    except csv_table.TooLong as error:
        raise BadData(f"une ligne du CSV dépasse la limite de {PREDICT.body_limit // 1024} Kio") from error
    except csv_table.NoCsv as error:
        raise BadData("le corps de la requête n’est pas un CSV valide") from error
    columns = dict(zip(wanted, zip(*rows, strict=True) if rows else [()] * len(wanted), strict=True))
    dialect = table.dialect
    has_commas = dialect.has_decimal_commas and any("," in ";".join(columns[name]) for name in features)
    kept = {name: _kept(name, columns[name]) for name in keep}
    return Clients(
        {name: csv_cells.column(columns[name], dialect) for name in features},
        lambda decisions: _written({**kept, **decisions}, dialect, has_commas),
        csv_cells.fault,
    )


def _written(columns: Mapping[str, Column], dialect: Dialect, has_commas: bool) -> bytes:
    """Columns under their names, with CRLF line ends, in the dialect of the request."""
    lines = csv_cells.lines(columns, dialect, has_commas)
    mark = csv_dialect.BYTE_ORDER_MARK if dialect.is_marked else ""
    return (mark + "\r\n".join([csv_cells.header([*columns], dialect), *lines, ""])).encode()


def _checked(rows: Iterator[csv_table.Row]) -> Iterator[list[str]]:
    for number, row in enumerate(rows, start=1):
        if number > MOST_IN_TEXT:
            raise TooManyClients(MOST_IN_TEXT)
        if row.fault is not None:
            raise BadRow(number, row.fault)
        yield row.cells


def _decoded(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise NotUtf8(" ; dans un tableur, enregistrez au format « CSV UTF-8 »") from error


def _kept(name: str, cells: Sequence[str]) -> Column:
    for row, cell in enumerate(cells, start=1):
        kept_columns.check_length(name, row, cell)
    return np.fromiter((cell or None for cell in cells), object, len(cells))
