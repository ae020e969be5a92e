"""Where the registry is: MLFLOW_TRACKING_URI, or this repository's own file. Needs no MLflow to tell."""

import os
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_MODEL_URI = "models:/scoring-client@champion"
_SQLITE = "sqlite:///"


def uri() -> str:
    """The store's URI. A SQLite path is made absolute, so that it is the same from every folder."""
    file = sqlite_file()
    if file is None:
        return os.environ["MLFLOW_TRACKING_URI"]
    _, separator, query = (os.environ.get("MLFLOW_TRACKING_URI") or "").partition("?")
    return f"{uri_of(file)}{separator}{query}"


def uri_of(sqlite_file: Path) -> str:
    """SQLAlchemy decodes the path, and takes what follows a question mark for something else."""
    return _SQLITE + str(sqlite_file).replace("%", "%25").replace("?", "%3F")


def sqlite_file() -> Path | None:
    """The file of the store, behind any link; None for a store of another kind."""
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if not given:
        return ROOT / "mlflow.db"
    path = unquote(given.removeprefix(_SQLITE).partition("?")[0])
    return Path(path).resolve() if given.startswith(_SQLITE) and path else None
