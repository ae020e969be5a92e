"""Which clients the models are fitted on, and which test them.

Clients with the same features stay together: a model that has seen one of them knows the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import StratifiedKFold, train_test_split

from features.raw_tables import LABEL
from training.protocol.candidates import MODEL_FEATURES

FOLDS = 5
TEST_SHARE = 0.2

Positions = npt.NDArray[np.intp]


class NothingToSplitBy(ValueError):
    """All clients have the same value, or all but too few."""


@dataclass(frozen=True)
class Partition:
    """The positions of the development clients and of the test clients, both in ascending order."""

    development: Positions
    test: Positions


def by_chance(clients: pd.DataFrame, seed: int) -> Partition:
    """TEST_SHARE of the clients are the test set, stratified by outcome."""
    alike = Alike.of(clients)
    known, unseen = train_test_split(
        np.arange(len(alike.outcomes)), test_size=TEST_SHARE, stratify=alike.outcomes, random_state=seed
    )
    return Partition(alike.clients(known), alike.clients(unseen))


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
    parts = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for known, unseen in parts.split(np.empty(len(alike.outcomes)), alike.outcomes):
        yield alike.clients(known), alike.clients(unseen)


@dataclass(frozen=True)
class Alike:
    """Clients by their features. `of_each`: the number of each client's features, counted in their order.

    `outcomes`: of the first client with each.
    """

    of_each: Positions
    outcomes: npt.NDArray[np.generic]

    @classmethod
    def of(cls, clients: pd.DataFrame) -> "Alike":
        features = [name for name in MODEL_FEATURES if name in clients.columns]
        hashed = pd.util.hash_pandas_object(clients[features], index=False).to_numpy()
        _, first, inverse = np.unique(hashed, return_index=True, return_inverse=True)
        order = np.argsort(first)
        place = np.empty(len(order), dtype=np.intp)
        place[order] = np.arange(len(order))
        return cls(place[inverse], clients[LABEL].to_numpy()[first[order]])

    @property
    def repeated(self) -> int:
        """How many clients have the same features as one before."""
        return len(self.of_each) - len(self.outcomes)

    def clients(self, chosen: Positions) -> Positions:
        """The positions of the clients with these features, in ascending order."""
        return np.flatnonzero(np.isin(self.of_each, chosen))
