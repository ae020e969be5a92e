"""LightGBM's raw scores of many clients, bit for bit, in NumPy alone.

It travels inside every bundle beside scoring.py, which runs it: editing it changes new versions only.

1. The thresholds of a feature part the doubles into cells. No split tells two values of one cell apart.
2. Each cell has a mask for each tree: one bit for each leaf that a value of this cell can still reach.
3. A client has one cell a feature. The AND of their masks leaves one bit a tree: the leaf where it ends.

How LightGBM compares: https://github.com/lightgbm-org/LightGBM/blob/v4.6.0/include/LightGBM/tree.h
(NumericalDecision). Imports the standard library and numpy; nothing here may import the project.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Masks = npt.NDArray[np.unsignedinteger[Any]]

MOST_LEAVES = 64  # the bits of the widest mask
MOST_FEATURES = 1_000  # of which the hard rows take 16 MB
MOST_BYTES = 2**27  # of all masks of a model while they are made, 8 bytes each

_WORDS = (np.uint8, np.uint16, np.uint32, np.uint64)
_BLOCK = 2**16  # leaves of a block of rows, one for each row and tree: they stay in a second-level cache
_FEW = 8  # rows
_HARD_ROWS = 2_000

# kZeroThreshold: LightGBM reads what is not farther from 0 as 0.
_ZERO = float(np.float32(1e-35))
_BELOW_ZERO = float(np.nextafter(-_ZERO, -np.inf))

# The bits of decision_type, and the values of its missing type.
_IS_CATEGORICAL, _DEFAULT_LEFT, _MISSING_TYPE = 1, 2, 3
_NONE_IS_MISSING, _ZERO_IS_MISSING = 0, 1


class NotByMasks(ValueError):
    """The model has what masks do not express, or would need too many of them."""


@dataclass(frozen=True)
class _Splits:
    """All splits of a model, one an element. `under_left` and `under_right`: the leaves there, as bits."""

    tree: Integers
    feature: Integers
    threshold: Doubles
    decision: Integers
    under_left: npt.NDArray[np.uint64]
    under_right: npt.NDArray[np.uint64]

    def of(self, feature: int) -> "_Splits":
        chosen = self.feature == feature
        return _Splits(*(values[chosen] for values in vars(self).values()))


class LeafMasks:
    """The trees of one model of `width` features. Raises NotByMasks.

    Never changed once made: threads may share it.
    """

    def __init__(self, model_text: str, width: int) -> None:
        if width > MOST_FEATURES:
            raise NotByMasks(f"more than {MOST_FEATURES} features")
        leaves = _numbers(model_text, "leaf_value", float)
        most = max(map(len, leaves), default=0)
        if not 1 <= most <= MOST_LEAVES:
            raise NotByMasks(f"no trees, or more than {MOST_LEAVES} leaves a tree")
        splits = _splits(model_text)
        self._width = width
        self._features: list[int] = np.unique(splits.feature).tolist() or [0]
        self._bounds = [_upper_bounds(splits.threshold[splits.feature == one]) for one in self._features]
        word = next(word for word in _WORDS if most <= 8 * np.dtype(word).itemsize)
        cells = sum(len(bounds) + 1 for bounds in self._bounds)
        if cells * len(leaves) * 8 > MOST_BYTES:
            raise NotByMasks(f"masks of more than {MOST_BYTES // 2**20} MiB")
        reachable = np.array([(1 << len(values)) - 1 for values in leaves], np.uint64)
        self._masks: list[Masks] = [
            (_masks(splits.of(one), bounds, len(leaves)) & reachable).astype(word)
            for one, bounds in zip(self._features, self._bounds, strict=True)
        ]
        self._one = word(1)
        self._leaves = np.zeros((len(leaves), most))
        for row, values in zip(self._leaves, leaves, strict=True):
            row[: len(values)] = values
        self._first_leaf = np.arange(len(leaves))[:, np.newaxis] * most
        self._rows = max(_FEW, _BLOCK // len(leaves))

    def raw_scores(self, matrix: Doubles) -> Doubles:
        """The sums of leaves, of shape (n,), of a matrix of doubles of shape (n, width), NaN where missing.

        Its columns are read one by one: Fortran order, as columns of Arrow give, is somewhat faster than C
        order. Rows are taken in blocks. A block holds one leaf a row and tree, 65,536 in all, as mask, place
        and value: 2 MiB, whatever n is. One thread computes.
        """
        if matrix.ndim != 2 or matrix.shape[1] != self._width:
            raise ValueError(f"expected {self._width} columns, not shape {matrix.shape}")
        scores = np.zeros(len(matrix))
        size = min(len(matrix), self._rows) * len(self._leaves)
        room = np.empty(size, np.intp), np.empty(size)  # once a call: fresh memory costs more than the sums
        for start in range(0, len(matrix), self._rows):
            block = slice(start, start + self._rows)
            scores[block] += self._sums(self._exits(matrix[block]), *room)
        return scores  # 0.0 was added to each, so that none is -0.0

    def _exits(self, rows: Doubles) -> npt.NDArray[np.uint8]:
        """The leaf of each row in each tree, of shape (n, trees)."""
        left = self._reachable(0, rows)
        for place in range(1, len(self._features)):
            left &= self._reachable(place, rows)
        left -= self._one  # what stays are the bits below the one that was left
        return np.bitwise_count(left)

    def _reachable(self, place: int, rows: Doubles) -> Masks:
        """The masks of one feature's values, of shape (n, trees). NaN sorts after infinity, the last one."""
        cells = self._bounds[place].searchsorted(rows[:, self._features[place]])
        return self._masks[place].take(cells, axis=0)

    def _sums(self, exits: npt.NDArray[np.uint8], places: npt.NDArray[np.intp], values: Doubles) -> Doubles:
        """The leaves' values added tree by tree, as LightGBM does: another order would round otherwise.

        `add.reduce` keeps that order across the slow axis of memory, and adds in pairs along the fast one
        (numpy.sum, Notes). A single row has no slow axis. `places` and `values` are overwritten.
        """
        places = places[: exits.size].reshape(exits.T.shape)
        values = values[: exits.size].reshape(exits.T.shape)
        np.add(exits.T, self._first_leaf, out=places)
        self._leaves.take(places, out=values, mode="clip")
        if len(exits) < _FEW:
            return np.add.accumulate(values, axis=0)[-1]
        return np.asarray(np.add.reduce(values, axis=0))

    def hard_rows(self) -> Doubles:
        """2,000 rows at the model's own thresholds, their neighbours, zeros, infinities and NaN.

        The same ones at each call. Whoever compares them with LightGBM knows whether masks are to be trusted.
        """
        zeros = [0.0, -0.0, _ZERO, -_ZERO, np.nextafter(_ZERO, 1.0), _BELOW_ZERO]
        rows = np.zeros((_HARD_ROWS, self._width), order="F")
        for feature, bounds in zip(self._features, self._bounds, strict=True):
            with np.errstate(over="ignore"):  # beside the largest double
                neighbours = [np.nextafter(bounds, -np.inf), bounds, np.nextafter(bounds, np.inf)]
            values = np.concatenate([*neighbours, zeros, [np.nan, -np.inf]])
            rows[:, feature] = values[_scattered(_HARD_ROWS, feature) % np.uint64(len(values))]
        return rows


def _scattered(count: int, seed: int) -> npt.NDArray[np.uint64]:
    """Integers without a pattern (splitmix64). numpy.random would take 45 ms to be imported."""
    numbers = np.arange(count, dtype=np.uint64) + np.uint64(seed * count + 1)
    numbers *= np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


# ---- From LightGBM's text to masks


def _numbers(model_text: str, key: str, kind: type) -> list[npt.NDArray[Any]]:
    lines = re.findall(rf"\n{key}=(.*)", model_text)
    return [np.array(line.split(), dtype=kind) for line in lines]


def _splits(model_text: str) -> _Splits:
    """Every split of every tree. Raises NotByMasks."""
    if "\nis_linear=1\n" in model_text:
        raise NotByMasks("linear trees")
    features = _numbers(model_text, "split_feature", int)
    decisions = np.concatenate(_numbers(model_text, "decision_type", int))
    if np.any(decisions & _IS_CATEGORICAL):
        raise NotByMasks("categories")
    children = [_numbers(model_text, key, int) for key in ("left_child", "right_child")]
    under = [_under(left.tolist(), right.tolist()) for left, right in zip(*children, strict=True)]
    left, right = (np.array([both[side] for tree in under for both in tree], np.uint64) for side in (0, 1))
    return _Splits(
        np.repeat(np.arange(len(features)), [len(tree) for tree in features]),
        np.concatenate(features),
        np.concatenate(_numbers(model_text, "threshold", float)),
        decisions,
        left,
        right,
    )


def _under(left: Sequence[int], right: Sequence[int]) -> list[tuple[int, int]]:
    """For each split of a tree, the leaves under both children, as bits. A child comes after its parent."""
    found = [(0, 0)] * len(left)
    for split in reversed(range(len(left))):
        first, second = (
            1 << ~child if child < 0 else found[child][0] | found[child][1]
            for child in (left[split], right[split])
        )
        found[split] = (first, second)
    return found


def _upper_bounds(thresholds: Doubles) -> Doubles:
    """The last value of each cell, in order. One cell holds what LightGBM reads as 0, the last infinity."""
    bounds = np.unique(np.concatenate([thresholds, [_BELOW_ZERO, _ZERO, np.inf]]))
    return bounds[(bounds <= _BELOW_ZERO) | (bounds >= _ZERO)]


def _masks(splits: _Splits, bounds: Doubles, trees: int) -> npt.NDArray[np.uint64]:
    """The masks of one feature, of shape (cells, trees). NaN has the last cell.

    Where a value goes left, the leaves under the right child are out of reach, and the other way round.
    """
    nan = len(bounds)
    first_right = bounds.searchsorted(splits.threshold, side="right")
    goes_right, goes_left = np.full((2, nan + 1, trees), ~np.uint64(0))
    np.bitwise_and.at(goes_right, (first_right, splits.tree), ~splits.under_left)
    has_left = first_right > 0
    last_left = (first_right[has_left] - 1, splits.tree[has_left])
    np.bitwise_and.at(goes_left, last_left, ~splits.under_right[has_left])
    masks = np.bitwise_and.accumulate(goes_right, axis=0)
    masks &= np.bitwise_and.accumulate(goes_left[::-1], axis=0)[::-1]

    missing_type = (splits.decision >> 2) & _MISSING_TYPE
    by_default = (splits.decision & _DEFAULT_LEFT) != 0
    as_zero = splits.threshold >= 0.0
    zero_left = np.where(missing_type == _ZERO_IS_MISSING, by_default, as_zero)
    nan_left = np.where(missing_type == _NONE_IS_MISSING, as_zero, by_default)
    for cell, left in ((bounds.searchsorted(0.0), zero_left), (nan, nan_left)):
        masks[cell] = ~np.uint64(0)
        out_of_reach = np.where(left, splits.under_right, splits.under_left)
        np.bitwise_and.at(masks[cell], splits.tree, ~out_of_reach)
    return masks
