"""Ranges of positions: which records an erasure took, in few numbers."""

import bisect
from collections.abc import Iterable

Ranges = tuple[tuple[int, int], ...]


def of(positions: Iterable[int]) -> Ranges:
    """The fewest ranges that hold these ascending positions and no others. Both ends belong to a range."""
    found: list[list[int]] = []
    for position in positions:
        if found and position == found[-1][1] + 1:
            found[-1][1] = position
        else:
            found.append([position, position])
    return tuple((first, last) for first, last in found)


class Union:
    """What is in any of many ranges."""

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        merged: list[list[int]] = []
        for first, last in sorted(ranges):
            if merged and first <= merged[-1][1] + 1:
                merged[-1][1] = max(last, merged[-1][1])
            else:
                merged.append([first, last])
        self._firsts = [first for first, _ in merged]
        self._lasts = [last for _, last in merged]

    def __contains__(self, position: int) -> bool:
        place = bisect.bisect_right(self._firsts, position) - 1
        return place >= 0 and position <= self._lasts[place]
