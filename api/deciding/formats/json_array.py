"""A batch as a JSON array: each client is read by the very function that reads a /predict body."""

import functools
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from api.deciding import strict_json
from api.deciding.formats import kept_columns
from api.deciding.formats.checked_columns import Column
from api.deciding.formats.clients import Clients
from api.paths import MOST_IN_TEXT, PREDICT
from features import text_rows
from mlflow_model.errors import BadData, BadRow, NotUtf8, TooManyClients, listed_as_missing

MEDIA_TYPE = "application/json"

_OPENING = re.compile(r"[ \t\n\r]*+\[[ \t\n\r]*+")
_EMPTY = re.compile(r"[ \t\n\r]*+\[[ \t\n\r]*+\][ \t\n\r]*+")
_SEPARATOR = re.compile(r"[ \t\n\r]*+([,\]])[ \t\n\r]*+")
_NEXT_BRACKET = re.compile(r'[^"{}\[\]]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*"[^"{}\[\]]*+)*[{}\[\]]', re.DOTALL)


class _Number(NamedTuple):
    """A number as it was written: a double might lose digits."""

    digits: str


class _Written(NamedTuple):
    """A kept value as JSON."""

    json: str


def read(body: bytes, features: Sequence[str], keep: Sequence[str]) -> Clients:
    """The clients, their values as Python objects. Raises BadData, with the row where there is one."""
    rows, kept_rows = [], []
    shown = (*features, *filter(kept_columns.shown, keep))
    parse = functools.partial(strict_json.parse, features=shown)
    for row, client in enumerate(_clients(body), start=1):
        if row > MOST_IN_TEXT:
            raise TooManyClients(MOST_IN_TEXT)
        rows.append(_values(row, client, features, parse))
        kept_rows.append(_kept(row, client, keep) if keep else [])
    kept = _columns(keep, kept_rows)
    return Clients(_columns(features, rows), lambda decisions: _written({**kept, **decisions}))


def _columns(names: Sequence[str], rows: Sequence[Sequence[object]]) -> dict[str, Column]:
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return {name: np.fromiter(column, object, len(rows)) for name, column in zip(names, columns, strict=True)}


def _written(columns: Mapping[str, Column]) -> bytes:
    """An array of what /predict answers, with the kept columns in front."""
    names = ", ".join(f"{_cell(name)}: ".replace("%", "%%") + "%s" for name in columns)
    return f"[{', '.join(text_rows.lines(columns, f'{{{names}}}', _cell))}]".encode()


def _cell(value: object) -> str:
    return value.json if isinstance(value, _Written) else json.dumps(value, ensure_ascii=False)


def _kept(row: int, client: str, keep: Sequence[str]) -> list[_Written]:
    """The kept values of a client whose text has been found to be strict JSON."""
    found = json.loads(client, parse_int=_Number, parse_float=_Number)
    return [_kept_value(name, row, found) for name in keep]


def _kept_value(name: str, row: int, client: Mapping[str, object]) -> _Written:
    """Half of a character, which a text may hold, is written as JSON's escape for it."""
    if name not in client:
        raise kept_columns.absent(name, row)
    value = client[name]
    if isinstance(value, list | dict):
        raise kept_columns.of_another_kind(name, row)
    text = value.digits if isinstance(value, _Number) else value
    if isinstance(text, str):
        kept_columns.check_length(name, row, text)
    written = value.digits if isinstance(value, _Number) else json.dumps(value, ensure_ascii=False)
    return _Written(written.encode("utf-8", "backslashreplace").decode())


def _values(
    row: int, client: str, features: Sequence[str], parse: Callable[[bytes], dict[str, object]]
) -> list[object]:
    document = client.encode()
    if len(document) > PREDICT.body_limit:
        raise BadRow(row, f"le client dépasse la limite de {PREDICT.body_limit // 1024} Kio")
    try:
        values = parse(document)
    except BadData as error:
        raise BadRow(row, error.detail) from error
    missing = [name for name in features if name not in values]
    if missing:
        raise BadRow(row, f"features manquantes : {listed_as_missing(missing, values)}")
    return [values[name] for name in features]


def _clients(body: bytes) -> Iterator[str]:
    """The text of each client, found by counting brackets: what is between them is not examined here.

    If every text is a JSON object, and only then, the body is a JSON array of objects.
    """
    text = _decoded(body)
    if _EMPTY.fullmatch(text):
        return
    opening = _OPENING.match(text)
    if opening is None:
        raise BadData("le corps de la requête doit être un tableau JSON de clients")
    position = opening.end()
    for row in itertools.count(1):
        if not text.startswith("{", position):
            raise BadRow(row, "chaque client doit être un objet JSON")
        end = _end_of_client(text, position)
        yield text[position:end]
        separator = _SEPARATOR.match(text, end)
        if separator is None:
            raise BadRow(row, "le corps de la requête n’est pas un JSON valide")
        position = separator.end()
        if separator[1] == "]":
            break
    if position < len(text):
        raise BadData("le corps de la requête n’est pas un JSON valide")


def _decoded(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotUtf8 from error


def _end_of_client(text: str, start: int) -> int:
    """Just behind the bracket that closes the client, or where it is certain that the client is refused."""
    limit = start + PREDICT.body_limit + 1
    depth, position = 0, start
    while bracket := _NEXT_BRACKET.match(text, position, limit):
        position = bracket.end()
        depth += 1 if text[position - 1] in "[{" else -1
        if depth == 0 or depth > strict_json.MAX_DEPTH:
            return position
    return min(limit, len(text))
