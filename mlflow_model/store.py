"""Where the registry is: in MLFLOW_TRACKING_URI, or in this repository's own file. Known without MLflow."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEFAULT = f"sqlite:///{ROOT / 'mlflow.db'}"


def uri() -> str:
    """The store's URI, the same in every process and from every folder: a SQLite path is absolute in it."""
    given = os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT
    scheme, separator, path = given.partition("sqlite:///")
    return f"sqlite:///{Path(path).absolute()}" if separator and not scheme and path else given
