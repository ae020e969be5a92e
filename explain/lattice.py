"""A model's scores at all points of a lattice at once, where some features rise or fall with its lines.

The points have rows and columns. A leaf adds its value at the first column of each row where it holds, and
takes it away after the last one. A sum along the rows then gives the scores, without a look at each point.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from explain.leaves import Flags, Interval, Leaves, Numbers
from mlflow_model.bundle.scoring import Doubles


class _Span(NamedTuple):
    """For each leaf: the places of a line from `first` up to, and without, `end`."""

    first: Numbers
    end: Numbers

    def within(self, other: "_Span") -> "_Span":
        return _Span(np.maximum(self.first, other.first), np.minimum(self.end, other.end))

    def of(self, which: Flags) -> "_Span":
        return _Span(self.first[which], self.end[which])


class _Held(NamedTuple):
    """The leaves that hold somewhere: in which rows, in which columns, and their values."""

    rows: _Span
    columns: _Span
    value: Doubles

    def of(self, which: Flags) -> "_Held":
        return _Held(self.rows.of(which), self.columns.of(which), self.value[which])

    def changes(self, height: int, width: int) -> Doubles:
        """What changes along each row, of shape (height, width + 1), by leaves that hold in rectangles."""
        at, what = [], []
        for row, signed in ((self.rows.first, self.value), (self.rows.end, -self.value)):
            at += [row * (width + 1) + self.columns.first, row * (width + 1) + self.columns.end]
            what += [signed, -signed]
        corners = np.bincount(np.concatenate(at), np.concatenate(what), (height + 1) * (width + 1))
        # Of no leaves the counts would be integers.
        return np.cumsum(corners.reshape(height + 1, width + 1)[:-1], axis=0, dtype=np.float64)


def scores(leaves: Leaves, row: Doubles, moved: Mapping[int, Doubles]) -> Doubles:
    """The scores of shape (rows, columns).

    `row`: the client's values, in the model's order. `moved`: by the place of a feature, its values instead,
    of shape (rows, 1) or (1, columns). One feature's may be of shape (rows, columns). All are monotone along
    each of the two.
    """
    height, width = np.broadcast_shapes(*(values.shape for values in moved.values()))
    if height > width:  # each row costs more than each column
        return scores(leaves, row, {place: values.T for place, values in moved.items()}).T
    reached = np.flatnonzero(leaves.reached(row, moved))
    rows, columns = (
        _Span(np.zeros(len(reached), np.int64), np.full(len(reached), n)) for n in (height, width)
    )
    tied = None
    if sum(1 not in values.shape for values in moved.values()) > 1:
        raise ValueError("one feature at the most may depend on both levers")
    for place, values in moved.items():
        interval = leaves.interval(place).of(reached)
        if values.shape[1] == 1:
            rows = rows.within(_span(values[:, 0], interval))
        elif values.shape[0] == 1:
            columns = columns.within(_span(values[0], interval))
        else:
            tied = values, interval
    held = _Held(rows, columns, leaves.values[reached])
    is_held = (rows.first < rows.end) & (columns.first < columns.end)
    if tied is None:
        changes = held.of(is_held).changes(height, width)
    else:
        values, interval = tied
        changes = _tied_changes(values, interval.of(is_held), held.of(is_held))
    return np.cumsum(changes[:, :-1], axis=1) + leaves.constant


def _span(values: Doubles, interval: Interval) -> _Span:
    """The places of a line of monotone values that lie in each leaf's interval."""
    if values[0] <= values[-1]:
        return _Span(*(np.searchsorted(values, end, side="right") for end in interval))
    rising, length = values[::-1], len(values)
    return _Span(*(length - np.searchsorted(rising, end, side="right") for end in reversed(interval)))


# ---- A feature that depends on both, the row and the column


class _Crossings(NamedTuple):
    """`cuts`: the ends of intervals, rising. `columns`, of shape (rows, cuts): where each row passes each."""

    cuts: Doubles
    columns: Numbers
    is_rising: bool

    @classmethod
    def of(cls, values: Doubles, interval: Interval) -> "_Crossings":
        cuts = np.unique(np.concatenate(interval))
        is_rising = bool((values[:, 0] <= values[:, -1]).all())  # a row may be flat, where a ratio is rounded
        rising = values if is_rising else values[:, ::-1]
        below = np.array([line.searchsorted(cuts, side="right") for line in rising])
        return cls(cuts, below if is_rising else values.shape[1] - below, is_rising)

    def between(self, interval: Interval) -> _Span:
        """By which cuts each leaf's interval begins and ends, from column to column."""
        low, high = (np.searchsorted(self.cuts, end) for end in interval)
        return _Span(low, high) if self.is_rising else _Span(high, low)


def _tied_changes(values: Doubles, interval: Interval, held: _Held) -> Doubles:
    """What changes along each row by leaves that hold where these values are in their intervals as well."""
    height, width = values.shape
    low, high = interval
    is_reached = (low < high) & (low < values.max()) & (high >= values.min())
    is_cut = is_reached & ((low >= values.min()) | (high < values.max()))
    changes = held.of(is_reached & ~is_cut).changes(height, width)
    if is_cut.any():
        cut, interval = held.of(is_cut), interval.of(is_cut)
        crossings = _Crossings.of(values, interval)
        between = crossings.between(interval)
        is_wide = (cut.columns.first == 0) & (cut.columns.end == width)
        _add_wide(changes, cut.of(is_wide), crossings, between.of(is_wide))
        _add_narrow(changes, cut.of(~is_wide), crossings, between.of(~is_wide))
    return changes


def _add_wide(changes: Doubles, held: _Held, crossings: _Crossings, between: _Span) -> None:
    """Nearly all leaves hold in all columns between two cuts: what they change is summed for each cut."""
    at_cuts = _Held(held.rows, between, held.value).changes(len(changes), len(crossings.cuts) - 1)
    _add(changes, crossings.columns, at_cuts)


def _add_narrow(changes: Doubles, held: _Held, crossings: _Crossings, between: _Span) -> None:
    rows = np.arange(len(changes))[:, None]
    is_in = (held.rows.first <= rows) & (rows < held.rows.end)
    first = np.maximum(crossings.columns[:, between.first], held.columns.first)
    end = np.minimum(crossings.columns[:, between.end], held.columns.end)
    value = np.where(is_in & (first < end), held.value, 0.0)
    _add(changes, first, value)
    _add(changes, end, -value)


def _add(changes: Doubles, columns: Numbers, what: Doubles) -> None:
    """Add to each row what changes at these columns, both of shape (rows, n)."""
    at = np.arange(len(changes))[:, None] * changes.shape[1] + columns
    changes += np.bincount(at.ravel(), what.ravel(), changes.size).reshape(changes.shape)
