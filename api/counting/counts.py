"""What has been counted, as plain numbers that a process can sum up without NumPy."""

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

# Upper bounds of the buckets; the last one has none.
SECONDS = (
    *(25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
PROBABILITIES = tuple(step / 20 for step in range(1, 20))

Key = tuple[str, ...]
SCREENED, UNSCREENED = "screened", "unscreened"  # for warnings
_NEW_COUNTERS = ("warnings", "screenings", "unanswered", "refused_unrecorded", "receipts")
_COUNTERS = ("decisions", "nulls", "compared_with", *_NEW_COUNTERS)
_HISTOGRAMS = {"seconds": SECONDS, "probabilities": PROBABILITIES, "commits": SECONDS}
_NEW = ("commits", *_NEW_COUNTERS)


class Histogram:
    """How many values lie in each bucket, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add_counts(self, counts: Sequence[int], total: float) -> None:
        self.counts = [mine + more for mine, more in zip(self.counts, counts, strict=True)]
        self.total += total


class Counts:
    """Of answers, decisions, nulls, warnings, comparisons with the challenger, and what was not answered."""

    def __init__(self) -> None:
        self.seconds: dict[Key, Histogram] = {}  # by path and status
        self.probabilities: dict[Key, Histogram] = {}  # by version
        self.decisions: Counter[Key] = Counter()  # by version and label
        self.nulls: Counter[Key] = Counter()  # by feature
        self.warnings: Counter[Key] = Counter()  # by code and feature
        self.screenings: Counter[Key] = Counter()  # SCREENED and UNSCREENED decisions
        self.unanswered: Counter[Key] = Counter()  # by path: decisions whose receipts could not be written
        self.refused_unrecorded: Counter[Key] = Counter()  # by path: requests, before anything was decided
        self.receipts: Counter[Key] = Counter()  # by path, on the disk
        self.commits: dict[Key, Histogram] = {}  # by path: seconds until a group of receipts is on the disk
        self.receipts_waiting = 0  # receipts that are not known to be on the disk
        self.compared_with: Counter[Key] = Counter()  # by both versions and their labels

    def content(self) -> dict[str, Any]:
        """The counts as JSON can hold them, for `add`."""
        histograms = {name: getattr(self, name) for name in _HISTOGRAMS}
        return {
            **{
                name: [(key, one.counts, one.total) for key, one in by_key.items()]
                for name, by_key in histograms.items()
            },
            **{name: list(getattr(self, name).items()) for name in _COUNTERS},
            "receipts_waiting": self.receipts_waiting,
        }

    def add(self, content: Mapping[str, Any]) -> None:
        """Add the content of other counts. A process of an earlier release counts less."""
        for name, bounds in _HISTOGRAMS.items():
            for key, counts, total in content.get(name, ()) if name in _NEW else content[name]:
                histogram(getattr(self, name), tuple(key), bounds).add_counts(counts, total)
        for name in _COUNTERS:
            counted = content.get(name, ()) if name in _NEW else content[name]
            getattr(self, name).update({tuple(key): count for key, count in counted})
        self.receipts_waiting += content.get("receipts_waiting", 0)


def histogram(by_key: dict[Key, Histogram], key: Key, bounds: Sequence[float]) -> Histogram:
    """The histogram of this key, made if there is none yet."""
    found = by_key.get(key)
    if found is None:
        found = by_key[key] = Histogram(bounds)
    return found


def read(content: bytes) -> dict[str, Any]:
    """The content of a tally's file. Raises ValueError if it is damaged."""
    try:
        found = json.loads(content)
        Counts().add(found)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("no tally") from error
    return dict(found)
