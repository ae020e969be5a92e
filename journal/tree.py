"""The Merkle tree of RFC 9162, section 2.1: roots, and proofs that an entry is in it or that it only grew.

The tree is kept as the roots of complete subtrees. `Subtree` gives the root of the 2^level leaves from
number * 2^level on; whoever stores the tree decides which of them are stored and which computed again.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence

Subtree = Callable[[int, int], bytes]

EMPTY = hashlib.sha256(b"").digest()
LEVELS_APART = 8  # subtrees of 2^8, 2^16, ... leaves are stored: a hash per 256 entries


def leaf(entry: bytes) -> bytes:
    return hashlib.sha256(b"\0" + entry).digest()


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


class Frontier:
    """The complete subtrees that a tree of this size falls into, the largest first: enough to go on from.

    `roots`: one for each 1 in the binary digits of the size.
    """

    def __init__(self, size: int = 0, roots: Iterable[bytes] = ()) -> None:
        self.size, self._roots = size, list(roots)
        if len(self._roots) != size.bit_count():
            raise ValueError(f"{len(self._roots)} subtrees are not those of a tree of size {size}")

    @property
    def roots(self) -> tuple[bytes, ...]:
        return tuple(self._roots)

    def extend(self, entries: Iterable[bytes]) -> list[tuple[int, int, bytes]]:
        """Append entries. Returns the level, number and root of each subtree that has to be stored."""
        sha256, roots, size = hashlib.sha256, self._roots, self.size
        completed = []
        for entry in entries:
            root, level, rest = sha256(b"\0" + entry).digest(), 0, size
            while rest & 1:
                root = sha256(b"\1" + roots.pop() + root).digest()
                level, rest = level + 1, rest >> 1
                if level % LEVELS_APART == 0:
                    completed.append((level, rest, root))
            roots.append(root)
            size += 1
        self.size = size
        return completed

    def root(self) -> bytes:
        if not self._roots:
            return EMPTY
        *others, root = self._roots
        for left in reversed(others):
            root = node(left, root)
        return root


def root(size: int, subtree: Subtree) -> bytes:
    return _root(0, size, subtree) if size else EMPTY


def inclusion(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """The path from a leaf to the root of a tree of this size (2.1.3.1)."""
    return _inclusion(index, 0, size, subtree)


def consistency(first: int, second: int, subtree: Subtree) -> list[bytes]:
    """What shows that the tree of the first size is the beginning of that of the second (2.1.4.1)."""
    return _consistency(first, 0, second, True, subtree) if 0 < first < second else []


def is_included(entry: bytes, index: int, size: int, path: Sequence[bytes], its_root: bytes) -> bool:
    """Whether the path leads from the entry at this index to the root (2.1.3.2)."""
    if not 0 <= index < size:
        return False
    found, place, last = leaf(entry), index, size - 1
    for one in path:
        if last == 0:
            return False
        if place & 1 or place == last:
            found = node(one, found)
            place, last = _up_to_a_right_child(place, last)
        else:
            found = node(found, one)
        place, last = place >> 1, last >> 1
    return last == 0 and found == its_root


def is_consistent(
    first: int, second: int, first_root: bytes, second_root: bytes, path: Sequence[bytes]
) -> bool:
    """Whether the path shows that the first tree is the beginning of the second (2.1.4.2)."""
    if not 0 <= first <= second:
        return False
    if first in (0, second):
        return not path and first_root == (second_root if first else EMPTY)
    if first & (first - 1) == 0:
        path = [first_root, *path]
    if not path:
        return False
    place, last = _up_to_a_left_child(first - 1, second - 1)
    old = new = path[0]
    for one in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old, new = node(one, old), node(one, new)
            place, last = _up_to_a_right_child(place, last)
        else:
            new = node(new, one)
        place, last = place >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root


def _split(low: int, high: int) -> int:
    """Where the leaves from low to high part: after the greatest power of two that leaves a right side."""
    return low + (1 << (high - low - 1).bit_length() - 1)


def _root(low: int, high: int, subtree: Subtree) -> bytes:
    count = high - low
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return subtree(level, low >> level)
    middle = _split(low, high)
    return node(_root(low, middle, subtree), _root(middle, high, subtree))


def _inclusion(index: int, low: int, high: int, subtree: Subtree) -> list[bytes]:
    if high - low == 1:
        return []
    middle = _split(low, high)
    if index < middle:
        return [*_inclusion(index, low, middle, subtree), _root(middle, high, subtree)]
    return [*_inclusion(index, middle, high, subtree), _root(low, middle, subtree)]


def _consistency(first: int, low: int, high: int, is_whole: bool, subtree: Subtree) -> list[bytes]:
    """`is_whole`: the first tree's root is that of the leaves so far, which the verifier knows already."""
    if first == high:
        return [] if is_whole else [_root(low, high, subtree)]
    middle = _split(low, high)
    if first <= middle:
        return [*_consistency(first, low, middle, is_whole, subtree), _root(middle, high, subtree)]
    return [*_consistency(first, middle, high, False, subtree), _root(low, middle, subtree)]


def _up_to_a_right_child(place: int, last: int) -> tuple[int, int]:
    while place and not place & 1:
        place, last = place >> 1, last >> 1
    return place, last


def _up_to_a_left_child(place: int, last: int) -> tuple[int, int]:
    while place & 1:
        place, last = place >> 1, last >> 1
    return place, last
