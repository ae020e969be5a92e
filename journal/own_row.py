"""The journal's own row: its name, how many records and writers it has, and the end of the tree."""

import re
from collections.abc import Sequence
from typing import Any

from journal.plural import counted

_NAME = re.compile(r"[^\s+]+")  # as the name of a signed note must be: https://c2sp.org/signed-note
_MOST_RECORDS, _MOST_WRITERS = 2**48, 2**32  # a writer's number has four bytes in a record


def fault(rows: Sequence[Sequence[Any]]) -> str | None:
    """Why these rows of the table `journal` are not what a writer left; None if they are.

    Whether the numbers are those of the records, `verification` finds.
    """
    if not rows:
        return "the journal has lost its own row"
    if len(rows) > 1:
        return f"the journal has {counted(len(rows), 'row')} of its own, where 1 is due"
    ((origin, size, writers, frontier),) = rows
    if not (isinstance(origin, str) and origin.isprintable() and _NAME.fullmatch(origin)):
        return "the journal's own row holds no name of a journal"
    if not (isinstance(size, int) and 0 <= size < _MOST_RECORDS):
        return "the journal's own row holds no number of records"
    if not (isinstance(writers, int) and 0 <= writers < _MOST_WRITERS):
        return "the journal's own row holds no number of writers"
    return None if isinstance(frontier, bytes) else "the journal's own row holds no end of a tree"
