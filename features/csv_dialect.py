"""The dialects of CSV that are read: RFC 4180, and what spreadsheets write where 1,5 is a number.

French Excel separates by semicolons or tabs, writes decimal commas and a byte order mark, sometimes declares
its delimiter in a line of its own, and leaves empty lines below the last row.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

DELIMITERS = ",;\t"  # of two that come equally often, the first
BYTE_ORDER_MARK = "\ufeff"

# Behind a quantifier of a group: it gives nothing back. Before Python 3.11.5 it matches too much, as
# « 1e » for a number (CPython issue 106052); there an ordinary group matches the same more slowly.
POSSESSIVE = "+" if re.fullmatch("(?:ab?c)?+a", "a") else ""

# A number as JSON writes it.
INTEGER = r"-?(?:0|[1-9][0-9]*+)"
FRACTION = r"(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?"
# The same for an engine that knows no possessive quantifiers, and never backtracks.
NUMBER_RE2 = "^(?:" + re.sub(r"([?*+])[+]", r"\1", INTEGER + FRACTION) + ")$"
LONGEST_INTEGER = 400  # digits; a longer one is out of the range of doubles, and int() would take its time

_NUMBER = re.compile(INTEGER + FRACTION)
_INTEGER = re.compile(INTEGER)
_DECLARATION = re.compile(rf'"?sep=([{DELIMITERS}])"?(?:\r\n?|\n)', re.IGNORECASE)
_HEADER = re.compile(r'(?:[^"\r\n]++|"[^"]*+")*')
_QUOTED = re.compile(r'"[^"]*+"')
_LINE_END = re.compile(r"\r\n?|\n")


@dataclass(frozen=True)
class Dialect:
    """`is_marked`: whether a byte order mark came first. `is_declared`: whether a line `sep=;` came next."""

    delimiter: str
    is_marked: bool = False
    is_declared: bool = False

    @property
    def has_decimal_commas(self) -> bool:
        """Whether a comma in a number is a decimal point. A point is one in every dialect."""
        return self.delimiter != ","

    def with_points(self, numbers: str) -> str:
        """Numbers with a point for each decimal comma. With thousands separators they are none any more."""
        return numbers.replace(",", ".") if self.has_decimal_commas else numbers

    def without_empty_end(self, text: str) -> str:
        """A table without the lines at its end that hold nothing but delimiters."""
        filled = len(text.rstrip(self.delimiter + "\r\n"))
        line_end = _LINE_END.search(text, filled)
        return text[: line_end.end()] if line_end else text


class Width:
    """How many cells a row has. Spreadsheets add cells without a name, in some rows: they must be empty."""

    def __init__(self, header: Sequence[str]) -> None:
        self._all = len(header)
        self._nameless = [place for place, name in enumerate(header) if not name.strip()]
        self._named = max(set(range(self._all)).difference(self._nameless), default=-1) + 1

    def fits(self, cells: Sequence[str]) -> bool:
        """Whether the row has a cell for each name, and none beyond the header but empty ones."""
        return len(cells) == self._all or (len(cells) >= self._named and not any(cells[self._all :]))

    def has_nameless_value(self, cells: Sequence[str]) -> bool:
        return any(cells[place] for place in self._nameless if place < len(cells))


def double(cell: str) -> float | None:
    """The double that a cell with a decimal point stands for; NaN for an empty one, None for any other.

    None too for an integer that no double equals, and for what is out of their range.
    """
    if not cell:
        return math.nan
    if not _NUMBER.fullmatch(cell) or len(cell) > LONGEST_INTEGER:
        return None
    found = float(cell)
    if math.isinf(found) or (_INTEGER.fullmatch(cell) and int(cell) != found):
        return None
    return found


def opened(text: str) -> tuple[Dialect, str]:
    """The dialect of a table, and the table from its header on. The beginning of a table is enough.

    The line `sep=` decides on the delimiter, otherwise the header alone: a row may hold any delimiter.
    """
    is_marked = text.startswith(BYTE_ORDER_MARK)
    declaration = _DECLARATION.match(text, int(is_marked))
    table = text[declaration.end() if declaration else int(is_marked) :]
    delimiter = declaration[1] if declaration else _most_frequent(table)
    return Dialect(delimiter, is_marked, declaration is not None), table


def _most_frequent(table: str) -> str:
    header = _HEADER.match(table)
    names = _QUOTED.sub("", header[0] if header else "")
    return max(DELIMITERS, key=names.count)
