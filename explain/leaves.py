"""A model's leaves: which of them a client's values can still reach, and between which values they lie."""

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlflow_model.bundle import model_text
from mlflow_model.bundle.model_text import Tree
from mlflow_model.bundle.scoring import Doubles

# LightGBM reads what is not farther from 0 as 0: kZeroThreshold in include/LightGBM/meta.h.
_ZERO = 1.0000000180025095e-35
_DEFAULT_IS_LEFT, _MISSING_IS_ZERO, _MISSING_IS_NAN = 2, 4, 8
_FIXED = 1  # the bit of all features that do not move
MOST_STEPS, MOST_CHARACTERS = 2_000_000, 16_000_000

Numbers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class TooManyLeaves(Exception):
    """The model is too large to be searched."""


class Interval(NamedTuple):
    """For each leaf: a client reaches it only with ends[low] < value <= ends[high]. The ends are rising."""

    ends: Doubles
    low: Numbers
    high: Numbers

    def of(self, which: Flags | Numbers) -> "Interval":
        return Interval(self.ends, self.low[which], self.high[which])

    def with_used_ends(self) -> "Interval":
        """The same, without the ends at which no leaf's interval begins or ends."""
        is_used = np.zeros(len(self.ends), np.bool_)
        is_used[self.low] = is_used[self.high] = True
        number = np.cumsum(is_used) - 1
        return Interval(self.ends[is_used], number[self.low], number[self.high])


class _Splits(NamedTuple):
    """Of all trees."""

    place: Numbers
    threshold: Doubles
    decision: Numbers


class _Steps(NamedTuple):
    """From the roots to the leaves, leaf after leaf. `first`: where each leaf's steps begin."""

    split: Numbers
    is_left: Flags
    first: Numbers


@dataclass(frozen=True, eq=False)
class Leaves:
    """All leaves of a model. `values` is of shape (leaves,); `constant` is what trees without a split add.

    A client's score is `constant` and the values of the leaves that the client reaches, one in each tree.
    """

    values: Doubles
    constant: float
    _splits: _Splits
    _steps: _Steps
    _intervals: dict[int, Interval] = field(default_factory=dict, init=False)

    @classmethod
    def of_text(cls, text: str) -> "Leaves":
        """The leaves of a model text that was checked. Raises TooManyLeaves."""
        if len(text) > MOST_CHARACTERS:
            raise TooManyLeaves
        return cls.of_trees([*model_text.trees(text)])

    @classmethod
    def of_trees(cls, trees: list[Tree]) -> "Leaves":
        """Raises TooManyLeaves."""
        values = [value for tree in trees if tree.features for value in tree.leaves]
        constant = sum(tree.leaves[0] for tree in trees if not tree.features)
        splits = _Splits(
            np.array([place for tree in trees for place in tree.features], np.int64),
            np.array([one for tree in trees for one in tree.thresholds], np.float64),
            np.array([one for tree in trees for one in tree.decisions], np.int64),
        )
        return cls(np.array(values, np.float64), constant, splits, _steps(trees))

    def of_client(self, row: Doubles, free: Iterable[int]) -> "ClientLeaves":
        """The leaves that the client can reach, whatever the values of the `free` features (by place) are.

        `row`: the client's values in the model's order, NaN where missing.
        """
        bits = {place: 2 << number for number, place in enumerate(free)}
        bit_of = np.full(len(row), _FIXED)
        bit_of[[*bits]] = [*bits.values()]
        goes_left = self._goes_left(row)[self._steps.split]
        excludes = np.where(goes_left == self._steps.is_left, 0, bit_of[self._place_of_steps])
        excluded_by = np.bitwise_or.reduceat(excludes, self._steps.first)
        kept = np.flatnonzero(excluded_by & _FIXED == 0)
        return ClientLeaves(self, kept, excluded_by[kept], bits)

    def interval(self, place: int) -> Interval:
        """Between which values of a feature each leaf lies.

        It holds for every value but NaN, and but 0 where that is taken for missing.
        """
        found = self._intervals.get(place)
        if found is None:
            threshold, is_of_it = self._splits.threshold[self._steps.split], self._place_of_steps == place
            lows = np.where(is_of_it & ~self._steps.is_left, threshold, -np.inf)
            highs = np.where(is_of_it & self._steps.is_left, threshold, np.inf)
            low = np.maximum.reduceat(lows, self._steps.first)
            high = np.minimum.reduceat(highs, self._steps.first)
            ends = np.unique(np.concatenate([low, high]))
            found = Interval(ends, ends.searchsorted(low), ends.searchsorted(high))
            self._intervals[place] = found
        return found

    @functools.cached_property
    def zero_is_missing(self) -> frozenset[int]:
        """The features, by place, of which a 0 is taken for a missing value."""
        return frozenset(self._splits.place[self._splits.decision & _MISSING_IS_ZERO != 0].tolist())

    @functools.cached_property
    def _place_of_steps(self) -> Numbers:
        return self._splits.place[self._steps.split]

    @functools.cached_property
    def largest_sum(self) -> float:
        """No sum of leaves, nor any part of one, is larger."""
        return float(np.abs(self.values).sum()) + abs(self.constant)

    def _goes_left(self, row: Doubles) -> Flags:
        """At each split, as NumericalDecision in include/LightGBM/tree.h."""
        value, decision = row[self._splits.place], self._splits.decision
        is_missing = np.isnan(value)
        value = np.where((is_missing & (decision & _MISSING_IS_NAN == 0)) | (abs(value) <= _ZERO), 0.0, value)
        takes_default = np.where(decision & _MISSING_IS_ZERO, value == 0.0, np.isnan(value))
        return np.where(takes_default, decision & _DEFAULT_IS_LEFT, value <= self._splits.threshold).astype(
            np.bool_
        )


@dataclass(frozen=True, eq=False)
class ClientLeaves:
    """The leaves that no fixed value of a client excludes, in the order of the model's.

    `excluded_by`: the bits of the free features whose present values exclude each leaf. `bits`: by place.
    """

    leaves: Leaves
    kept: Numbers
    excluded_by: Numbers
    bits: Mapping[int, int]
    _intervals: dict[int, Interval] = field(default_factory=dict, init=False)

    @functools.cached_property
    def values(self) -> Doubles:
        return self.leaves.values[self.kept]

    def reached(self, moved: Iterable[int]) -> Flags:
        """Which of them the client can reach, if no free features move but these."""
        return self.excluded_by & ~sum(self.bits[place] for place in moved) == 0

    def interval(self, place: int) -> Interval:
        """Between which values of a feature each of them lies."""
        if place not in self._intervals:
            self._intervals[place] = self.leaves.interval(place).of(self.kept)
        return self._intervals[place]


def _steps(trees: list[Tree]) -> _Steps:
    if sum(map(_length, trees)) > MOST_STEPS:
        raise TooManyLeaves
    steps, firsts, before = list[tuple[int, bool]](), [], 0
    for tree in trees:
        for path in _paths(tree, before):
            firsts.append(len(steps))
            steps += path
        before += len(tree.features)
    splits, sides = zip(*steps, strict=True) if steps else ((), ())
    return _Steps(np.array(splits, np.int64), np.array(sides, np.bool_), np.array(firsts, np.int64))


def _length(tree: Tree) -> int:
    """The steps to all splits and leaves of a tree. A split comes after its parent."""
    depths, total = [0] * len(tree.features), 0
    for split, children in enumerate(zip(tree.left, tree.right, strict=True)):
        total += 2 * (depths[split] + 1)
        for child in children:
            if child >= 0:
                depths[child] = depths[split] + 1
    return total


def _paths(tree: Tree, before: int) -> Iterator[list[tuple[int, bool]]]:
    """The steps to each leaf of a tree, in the order of its leaves. `before`: the splits of other trees."""
    to_splits: dict[int, list[tuple[int, bool]]] = {0: []}
    to_leaves: dict[int, list[tuple[int, bool]]] = {}
    for split, children in enumerate(zip(tree.left, tree.right, strict=True)):
        path = to_splits.pop(split)
        for child, is_left in zip(children, (True, False), strict=True):
            of_child = [*path, (before + split, is_left)]
            if child < 0:
                to_leaves[~child] = of_child
            else:
                to_splits[child] = of_child
    for leaf in range(len(to_leaves)):
        yield to_leaves[leaf]
