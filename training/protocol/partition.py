"""Which clients the models are fitted on, and which test them.

Clients with the same features stay together: a model that has seen one of them knows the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, train_test_split

from features.raw_tables import LABEL
from training.protocol.candidates import MODEL_FEATURES

FOLDS = 5
TEST_SHARE = 0.2

Positions = npt.NDArray[np.intp]


class NothingToSplitBy(ValueError):
    """All clients have the same value."""


@dataclass(frozen=True)
class Partition:
    """The positions of the development clients and of the test clients, both in ascending order."""

    development: Positions
    test: Positions


def by_chance(clients: pd.DataFrame, seed: int) -> Partition:
    """About TEST_SHARE of the clients are the test set, stratified by outcome."""
    alike = Alike.of(clients)
    if alike.repeated:
        parts = StratifiedGroupKFold(round(1 / TEST_SHARE), shuffle=True, random_state=seed)
        found = parts.split(alike.of_each, clients[LABEL], alike.of_each)
        # One of them may hold many clients who are all alike.
        known, unseen = min(found, key=lambda one: abs(len(one[1]) - TEST_SHARE * len(clients)))
    else:
        known, unseen = train_test_split(
            np.arange(len(clients)), test_size=TEST_SHARE, stratify=clients[LABEL], random_state=seed
        )
    return Partition(np.sort(known), np.sort(unseen))


def by_order(values: pd.Series) -> Partition:
    """The clients with the last values are the test set: as near to TEST_SHARE as whole values allow.

    Raises NothingToSplitBy.
    """
    found = values.to_numpy()
    firsts, counts = np.unique(found, return_counts=True)
    shares = 1.0 - np.cumsum(counts)[:-1] / len(found)
    if not len(shares):
        raise NothingToSplitBy("all labelled clients have the same value")
    first = firsts[1 + int(np.abs(shares - TEST_SHARE).argmin())]
    is_late = found >= first
    return Partition(np.flatnonzero(~is_late), np.flatnonzero(is_late))


def folds(clients: pd.DataFrame, seed: int) -> Iterator[tuple[Positions, Positions]]:
    """For each of FOLDS parts, the positions of the others and its own, stratified by outcome."""
    alike = Alike.of(clients)
    kind = StratifiedGroupKFold if alike.repeated else StratifiedKFold
    parts = kind(FOLDS, shuffle=True, random_state=seed)
    yield from parts.split(alike.of_each, clients[LABEL], alike.of_each if alike.repeated else None)


@dataclass(frozen=True)
class Alike:
    """Which clients have the same features. `of_each`: for each client a number that these share."""

    of_each: Positions

    @classmethod
    def of(cls, clients: pd.DataFrame) -> "Alike":
        features = [name for name in MODEL_FEATURES if name in clients.columns]
        hashed = pd.util.hash_pandas_object(clients[features], index=False).to_numpy()
        return cls(np.unique(hashed, return_inverse=True)[1])

    @property
    def repeated(self) -> int:
        """How many clients have the same features as another one."""
        counts = np.unique(self.of_each, return_counts=True)[1]
        return int(counts[counts > 1].sum())
