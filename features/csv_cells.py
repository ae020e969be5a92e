"""What a cell of a CSV stands for, and how a value is written as one: the same at every door.

Numbers are written as JSON has them, or with a decimal comma (features/csv_dialect.py). Nothing is null.
"""

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from features import csv_dialect, text_rows
from features.csv_dialect import FRACTION, INTEGER, LONGEST_INTEGER, Dialect

Column = npt.NDArray[Any]

_SURELY_EXACT = r"-?(?:0|[1-9][0-9]{0,14}+)" + FRACTION  # an integer of 16 digits may not fit in a double
# The same for an engine that knows no possessive quantifiers, and never backtracks.
_BACKTRACKING = re.sub(r"([*+}])[+]", r"\1", _SURELY_EXACT)
SURELY_EXACT_RE2 = f"^(?:{_BACKTRACKING})$"
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


def column(cells: Sequence[str], dialect: Dialect) -> Column:
    """Doubles where every cell is plainly a number; otherwise Python objects, for the scorer to judge.

    A text that is no number stays a text, which the scorer refuses.
    """
    joined = dialect.with_points(";".join(cells))
    if joined.count(";") == max(len(cells) - 1, 0) and _PLAIN_CELLS.fullmatch(joined):
        return np.fromiter((float(cell or "nan") for cell in joined.split(";")), np.float64, len(cells))
    return np.fromiter((_value(dialect.with_points(cell)) for cell in cells), object, len(cells))


def fault(value: object) -> str | None:
    """What is wrong with a text that is no number, in French, where its writer's intention is known."""
    cell = value if isinstance(value, str) else ""
    return next((fault for form, fault in _FAULTS.items() if re.fullmatch(form, cell)), None)


def lines(columns: Mapping[str, Column], dialect: Dialect, has_commas: bool) -> Iterator[str]:
    """One line a row, without its end. Columns of doubles, or of Python objects."""
    number = _with_comma if has_commas else repr
    template = dialect.delimiter.join(["%s"] * len(columns))
    return text_rows.lines(columns, template, functools.partial(cell, dialect.delimiter, number), number)


def header(names: Sequence[str], dialect: Dialect) -> str:
    return dialect.delimiter.join(cell(dialect.delimiter, repr, name) for name in names)


def cell(delimiter: str, number: Callable[[float], str], value: object) -> str:
    """Texts quoted where they must be, so that an empty one is not taken for null; the others as in JSON."""
    if value is None:
        return ""
    if isinstance(value, float):
        return number(value)
    if not isinstance(value, str):
        return json.dumps(value)
    is_plain = value and not any(sign in value for sign in (delimiter, '"', "\r", "\n"))
    return value if is_plain else '"' + value.replace('"', '""') + '"'


def _value(cell: str) -> float | str | None:
    if not cell:
        return None
    if _INTEGER_CELL.fullmatch(cell):
        return int(cell) if len(cell) <= LONGEST_INTEGER else float("inf")
    return float(cell) if _NUMBER_CELL.fullmatch(cell) else cell


def _with_comma(number: float) -> str:
    return repr(number).replace(".", ",")
