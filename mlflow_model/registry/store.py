"""Where the registry is: MLFLOW_TRACKING_URI, or this repository's own file. Needs no MLflow to tell."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = f"sqlite:///{ROOT / 'mlflow.db'}"


def uri() -> str:
    """The store's URI. A SQLite path is made absolute, so that it is the same from every folder."""
    given = os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT
    scheme, separator, path = given.partition("sqlite:///")
    return f"sqlite:///{Path(path).absolute()}" if separator and not scheme and path else given
