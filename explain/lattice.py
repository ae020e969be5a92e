"""A model's scores at all points of a lattice at once, where some features rise or fall with its lines.

The points have rows and columns. A leaf adds its value at the first column of each row where it holds, and
takes it away after the last one. A sum along the rows then gives the scores, without a look at each point.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from explain.leaves import ClientLeaves, Flags, Interval, Numbers
from mlflow_model.bundle.scoring import Doubles


class _Span(NamedTuple):
    """For each leaf: the places of a line from `first` up to, and without, `end`."""

    first: Numbers
    end: Numbers

    @classmethod
    def whole(cls, leaves: ClientLeaves, length: int) -> "_Span":
        """All places of a line of this length."""
        count = len(leaves.values)
        return cls(np.zeros(count, np.int64), np.full(count, length))

    def within(self, other: "_Span") -> "_Span":
        return _Span(np.maximum(self.first, other.first), np.minimum(self.end, other.end))

    def of(self, which: Flags | Numbers) -> "_Span":
        return _Span(self.first[which], self.end[which])

    def alike(self, length: int) -> tuple["_Span", Numbers]:
        """The spans in a shorter line, without the places where none begins or ends; and where each went."""
        differs = np.zeros(length + 1, np.bool_)
        differs[0] = differs[self.first] = differs[self.end] = True
        went_to = np.cumsum(differs) - 1
        return _Span(went_to[self.first], went_to[self.end]), went_to


class _Held(NamedTuple):
    """The leaves that hold somewhere: in which rows, in which columns, and their values."""

    rows: _Span
    columns: _Span
    value: Doubles

    def of(self, which: Flags | Numbers) -> "_Held":
        return _Held(self.rows.of(which), self.columns.of(which), self.value[which])

    def changes_of_a_row(self, width: int) -> Doubles:
        """What changes along a row in which all of them hold, of shape (1, width + 1)."""
        at, what = np.concatenate(self.columns), np.concatenate([self.value, -self.value])
        return np.bincount(at, what, width + 1).astype(np.float64, copy=False)[None]

    def changes(self, height: int, width: int) -> Doubles:
        """What changes along each row, of shape (height, width + 1), by leaves that hold in rectangles."""
        (first, end), group = self.rows.alike(height)
        at, what = [], []
        for row, signed in ((first, self.value), (end, -self.value)):
            at += [row * (width + 1) + self.columns.first, row * (width + 1) + self.columns.end]
            what += [signed, -signed]
        corners = np.bincount(np.concatenate(at), np.concatenate(what), (group[-1] + 1) * (width + 1))
        # Of no leaves the counts would be integers.
        of_groups = np.cumsum(corners.reshape(-1, width + 1), axis=0, dtype=np.float64)
        return of_groups[group[:height]]


def scores(leaves: ClientLeaves, moved: Mapping[int, Doubles]) -> Doubles:
    """The scores of shape (rows, columns).

    `moved`: by the place of a free feature, its values instead of the client's, of shape (rows, 1) or
    (1, columns). One feature's may be of shape (rows, columns). All are monotone along each of the two.
    """
    height, width = np.broadcast(*moved.values()).shape
    if height > width:  # each row costs more than each column
        return np.ascontiguousarray(scores(leaves, {place: values.T for place, values in moved.items()}).T)
    rows, columns, tied = _Span.whole(leaves, height), _Span.whole(leaves, width), None
    if sum(1 not in values.shape for values in moved.values()) > 1:
        raise ValueError("one feature at the most may depend on both levers")
    for place, values in moved.items():
        interval = leaves.interval(place)
        if values.shape[1] == 1:
            rows = rows.within(_span(values[:, 0], interval))
        elif values.shape[0] == 1:
            columns = columns.within(_span(values[0], interval))
        else:
            tied = values, interval
    is_held = leaves.reached(moved) & (rows.first < rows.end) & (columns.first < columns.end)
    held = _Held(rows, columns, leaves.values).of(np.flatnonzero(is_held))
    if tied is not None:
        values, interval = tied
        changes = _tied_changes(values, interval.of(is_held), held)
    elif height == 1:
        changes = held.changes_of_a_row(width)
    else:
        changes = held.changes(height, width)
    found = np.cumsum(changes[:, :-1], axis=1)
    found += leaves.leaves.constant
    return found


def _span(values: Doubles, interval: Interval) -> _Span:
    """The places of a line of monotone values that lie in each leaf's interval."""
    ends, low, high = interval
    if values[0] <= values[-1]:
        places = values.searchsorted(ends, side="right")
        return _Span(places[low], places[high])
    places = len(values) - values[::-1].searchsorted(ends, side="right")
    return _Span(places[high], places[low])


# ---- A feature that depends on both, the row and the column


class _Crossings(NamedTuple):
    """Where each row passes the ends of intervals: `columns`, of shape (rows, ends)."""

    columns: Numbers
    is_rising: bool

    @classmethod
    def of(cls, values: Doubles, ends: Doubles) -> "_Crossings":
        is_rising = bool((values[:, 0] <= values[:, -1]).all())  # a row may be flat, where a ratio is rounded
        rising = np.ascontiguousarray(values if is_rising else values[:, ::-1])
        below = np.array([line.searchsorted(ends, side="right") for line in rising])
        return cls(below if is_rising else values.shape[1] - below, is_rising)

    def between(self, interval: Interval) -> _Span:
        """By which ends each leaf's interval begins and ends, from column to column."""
        return _Span(interval.low, interval.high) if self.is_rising else _Span(interval.high, interval.low)


def _tied_changes(values: Doubles, interval: Interval, held: _Held) -> Doubles:
    """What changes along each row by leaves that hold where these values are in their intervals as well."""
    height, width = values.shape
    ends, low, high = interval
    corners = [
        values[row, column] for row in (0, -1) for column in (0, -1)
    ]  # with the least and the greatest
    is_above, is_below = ends >= min(corners), ends < max(corners)
    is_reached = (low < high) & is_below[low] & is_above[high]
    is_cut = is_reached & (is_above[low] | is_below[high])
    changes = held.of(is_reached & ~is_cut).changes(height, width)
    if is_cut.any():
        cut, interval = held.of(is_cut), interval.of(is_cut).with_used_ends()
        crossings = _Crossings.of(values, interval.ends)
        between = crossings.between(interval)
        is_wide = (cut.columns.first == 0) & (cut.columns.end == width)
        _add_wide(changes, cut.of(is_wide), crossings, between.of(is_wide))
        _add_narrow(changes, cut.of(~is_wide), crossings, between.of(~is_wide))
    return changes


def _add_wide(changes: Doubles, held: _Held, crossings: _Crossings, between: _Span) -> None:
    """Nearly all leaves hold in all columns between two ends: what they change is summed for each end."""
    height, ends = crossings.columns.shape
    _add(changes, crossings.columns, _Held(held.rows, between, held.value).changes(height, ends - 1))


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
