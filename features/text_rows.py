"""Writes columns as text, one line a client, with the shortest digits that read back as the same double."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[Any]


def lines(
    columns: Mapping[str, Column],
    template: str,
    cell: Callable[[object], str],
    number: Callable[[float], str] = repr,
) -> Iterator[str]:
    """`template` has one %s for each column. `number` writes a column of doubles, `cell` all other values."""
    texts = [_texts(column, cell, number) for column in columns.values()]
    return (template % line for line in zip(*texts, strict=True))


def _texts(column: Column, cell: Callable[[object], str], number: Callable[[float], str]) -> Iterable[str]:
    values = column.tolist()
    if column.dtype == object:
        written = {label: cell(label) for label in set(values) if isinstance(label, str)}
        return [written[value] if isinstance(value, str) else cell(value) for value in values]
    bits = column.view(np.int64)  # 0.0 and -0.0 are equal
    if len(bits) and (bits == bits[0]).all():
        return itertools.repeat(number(values[0]), len(values))
    return map(number, values)
