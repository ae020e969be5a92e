"""Screens clients who have been decided on for warnings (`guard_rails`), many at once."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from explain import guard_rails, population
from mlflow_model.bundle.scoring import Scorer

Warned = tuple[str, ...]  # a code, and the feature that it is about or an empty text


def of_clients(
    scorer: Scorer, clients: Sequence[Mapping[str, Any]], probabilities: Sequence[float]
) -> Counter[Warned]:
    """How many of these clients have each warning, by code and feature. None is a missing value."""
    columns = {name: [client[name] for client in clients] for name in scorer.features}
    return of_columns(scorer, columns, probabilities)


def of_columns(
    scorer: Scorer, columns: Mapping[str, npt.ArrayLike], probabilities: npt.ArrayLike
) -> Counter[Warned]:
    """The same of clients by column. Raises whatever a bundle's own policy or values make of it."""
    found = warned(scorer, columns, probabilities)
    return Counter({warning: len(places) for warning, places in found.items()})


def warned(
    scorer: Scorer, columns: Mapping[str, npt.ArrayLike], probabilities: npt.ArrayLike
) -> dict[Warned, npt.NDArray[np.intp]]:
    """The places of the clients with each warning that anybody has. Raises as `of_columns` does."""
    doubles = {name: np.asarray(columns[name], np.float64) for name in scorer.features}
    found = guard_rails.of(
        doubles, np.asarray(probabilities, np.float64), scorer.policy, population.of_scorer(scorer)
    )
    return {(code, feature or ""): np.flatnonzero(holds) for code, feature, holds in found if holds.any()}
