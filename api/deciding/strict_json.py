"""Reads a request body by RFC 8259, no looser: one object, no duplicate key, no NaN, bounded depth.

Two readers give the same object: a fast one for numbers and nulls under plain names, which steps aside
whenever it is in doubt, and a strict one for everything else and for every refusal.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

import orjson

from mlflow_model.errors import BadData, NotUtf8

MAX_DEPTH = 100

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?')
_LONGEST_INTEGER = 400  # digits; a longer one is out of the range of doubles, and int() would take its time


_BACKSLASH = ord("\\")
_USUAL_SIZE = 2.0**52


class _NotANumber:
    """Stands for NaN, Infinity and -Infinity, which Python's parser accepts and JSON does not have."""


def parse(body: bytes, features: Collection[str]) -> dict[str, Any]:
    """The object in a body. Raises BadData, which names a key only if it is one of `features`."""
    document = ordinary(body)
    return strict(body, features) if document is None else document


def ordinary(body: bytes) -> dict[str, Any] | None:
    """What `strict` gives for an object of numbers of a usual size and nulls; None when there is any doubt.

    Without a backslash each string has two quotes: twice as many quotes as keys leave no room for a string
    among the values, for a key twice or for a key further in. `hypot` takes numbers only, so that no list or
    object has anything in it; and no number is greater than the `hypot` of all, so that none is an integer
    long enough for orjson to read it as a double.
    """
    try:
        document = orjson.loads(body)
        if (
            type(document) is dict
            and _BACKSLASH not in body
            and body.count(b'"') == 2 * len(document)
            and math.hypot(*filter(None, document.values())) < _USUAL_SIZE
        ):
            return document
    except (ValueError, TypeError):
        return None
    return None


def strict(body: bytes, features: Collection[str]) -> dict[str, Any]:
    """Like `parse`, by Python's own parser: slower, and with a reason for each refusal."""
    text = _decoded(body)
    _check_depth(text)
    try:
        document = json.loads(
            text,
            object_pairs_hook=_object_reader(features),
            parse_int=_integer,
            parse_constant=lambda _: _NotANumber(),
        )
    except (ValueError, RecursionError) as error:
        raise BadData("le corps de la requête n’est pas un JSON valide") from error
    if not isinstance(document, dict):
        raise BadData("le corps de la requête doit être un objet JSON")
    return document


def _decoded(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotUtf8 from error


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in re.findall(r"[\[\]{}]", _STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise BadData(f"le corps de la requête dépasse {MAX_DEPTH} niveaux d’imbrication")


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float("inf")


def _object_reader(features: Collection[str]) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    def read(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise BadData(f"la clé{_named(_first_duplicate(pairs), features)} apparaît plusieurs fois")
        for key, value in pairs:
            if _holds_nan(value):
                raise BadData(f"la clé{_named(key, features)} porte NaN ou Infinity, qui ne sont pas du JSON")
        return found

    return read


def _holds_nan(value: object) -> bool:
    return isinstance(value, _NotANumber) or (isinstance(value, list) and any(map(_holds_nan, value)))


def _first_duplicate(pairs: list[tuple[str, Any]]) -> str:
    return next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)


def _named(key: str, features: Collection[str]) -> str:
    return f" '{key}'" if key in features else ""
