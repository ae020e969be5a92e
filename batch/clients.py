"""What every kind of input gives: clients, some hundred kilobytes or megabytes of them at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from features.arrow_columns import Column

MOST_ROWS = 16_384
MOST_TOGETHER = 16  # chunks
_MOST_CELLS = 2_000_000


@dataclass(frozen=True)
class Bad:
    """A row that is not decided on. `row`: in its file, from 1. `cells`: as it came."""

    row: int
    reason: str
    cells: Sequence[object]


@dataclass(frozen=True)
class Clients:
    """`values`: by feature. `others`: the other columns. `rows`: their numbers in the file, from 1.

    `came`: the cells of one of them, from 0, as they came. `fault`: what is wrong with a value that the
    scorer refuses, if the format knows better than the scorer. `bad`: rows that could not even be read.
    """

    values: Mapping[str, Column]
    others: pa.RecordBatch
    rows: Sequence[int]
    came: Callable[[int], Sequence[object]]
    fault: Callable[[object], str | None] = lambda _: None
    bad: Sequence[Bad] = field(default_factory=tuple)


class Chunk(Protocol):
    """Some rows of a file. They are read in any thread, once.

    `is_small`: whether to decide on several such chunks at once is no more than to decide on another.
    """

    @property
    def is_small(self) -> bool: ...

    def clients(self) -> Clients: ...


class Source(Protocol):
    """One file or stream. `schema`: of the columns that are no features; `header`: all names."""

    @property
    def name(self) -> str: ...

    @property
    def header(self) -> Sequence[str]: ...

    @property
    def schema(self) -> pa.Schema: ...

    def chunks(self) -> Iterator[Chunk]:
        """Always the same ones, so that a run can go on where another one has ended."""
        ...

    def share(self) -> float | None:
        """How much of it has been read, from 0 to 1; None where nobody knows."""
        ...


def is_small(amount: int, most: int) -> bool:
    """Whether MOST_TOGETHER chunks of this size are no larger than the largest."""
    return amount * MOST_TOGETHER <= most


def rows_at_once(columns: int) -> int:
    """So many that a chunk takes a few megabytes, however many columns there are."""
    return max(1_024, min(MOST_ROWS, _MOST_CELLS // max(1, columns)))
