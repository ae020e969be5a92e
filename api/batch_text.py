"""Writes decisions as text, one line a client, with the shortest digits that read back as the same double."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[np.generic]


def lines(decisions: Mapping[str, Column], template: str, quoted: Callable[[str], str]) -> Iterator[str]:
    """`template` has one %s for each column; `quoted` writes a label."""
    texts = [_texts(column, quoted) for column in decisions.values()]
    return (template % line for line in zip(*texts, strict=False))


def _texts(column: Column, quoted: Callable[[str], str]) -> Iterable[str]:
    if column.dtype == object:
        written = {label: quoted(label) for label in set(column.tolist())}
        return [written[label] for label in column.tolist()]
    if (column == column[0]).all():
        return itertools.repeat(repr(column[0].item()), len(column))
    return [repr(number) for number in column.tolist()]
