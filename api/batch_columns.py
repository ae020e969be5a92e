"""Finds the model's features among the columns of a CSV or Arrow table."""

from collections import Counter
from collections.abc import Sequence

from mlflow_model.errors import BadData, MissingFeatures


def positions(names: Sequence[str], features: Sequence[str]) -> dict[str, int]:
    """Where each feature's column is. Other columns are ignored, but no name may come twice."""
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        known = next((f" '{name}'" for name in features if name in twice), "")
        raise BadData(f"la colonne{known} apparaît plusieurs fois")
    found = {name: position for position, name in enumerate(names)}
    missing = [name for name in features if name not in found]
    if missing:
        raise MissingFeatures(missing)
    return {name: found[name] for name in features}
