"""Has a process make a file of features from raw tables."""

from collections.abc import Sequence
from pathlib import Path

from batch.errors import Refused
from mlflow_model import processes


def make(folder: Path, file: Path, features: Sequence[str]) -> None:
    """Of the tables in the folder, one row a client behind SK_ID_CURR. Raises Refused."""
    question = {"folder": str(folder), "file": str(file), "features": [*features]}
    try:
        problem: str | None = processes.ask("batch.feature_step", question, None, None)
    except processes.NoAnswer as error:
        raise Refused(
            f"the features of {folder} are not made: the process that makes them has ended"
        ) from error
    if problem is not None:
        raise Refused(problem)
