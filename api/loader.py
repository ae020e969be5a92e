"""Brings the model that MODEL_URI names into the local cache, in a process of its own, and says where it is.

MLflow is slow, large and can hang; LightGBM's parser can end the process that parses. Neither may happen to a
process that answers requests: this one resolves, copies, verifies and tries the model out, then prints one
line of JSON.
"""

import argparse
import json
import os
import sys
import uuid
from pathlib import Path

from mlflow_model import bundle as bundles
from mlflow_model import legacy
from mlflow_model.bundle import Bundle
from mlflow_model.errors import LoadingFailed, ModelUnavailable

# MLflow's own defaults wait for minutes before they give up.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


def is_pickle(uri: str) -> bool:
    """Whether a MODEL_URI is the path of a documented pickle rather than an MLflow model URI."""
    return uri.endswith(".pkl")


def load(uri: str, cache: Path) -> dict[str, str | None]:
    """Put the verified bundle into the cache.

    Returns its folder and what it is called. Raises ModelUnavailable.
    """
    if is_pickle(uri):
        bundle, _ = legacy.convert(Path(uri))
        names: dict[str, str | None] = {"name": Path(uri).name, "version": None, "alias": None}
    else:
        for variable, value in _PATIENCE.items():
            os.environ.setdefault(variable, value)
        from mlflow_model import registry

        fetched = registry.fetch(uri)
        bundle = fetched.bundle
        names = {"name": fetched.name, "version": fetched.version, "alias": fetched.alias}
    bundle.scorer()
    return {"folder": str(_cached(bundle, cache)), **names}


def _cached(bundle: Bundle, cache: Path) -> Path:
    """The bundle's folder in the cache, named by its digest. It appears whole or not at all."""
    folder = cache / bundle.digest
    try:
        if folder.exists() and bundles.read(folder) == bundle:
            return folder
    except LoadingFailed:
        folder.rename(cache / f"damaged-{uuid.uuid4().hex}")
    arriving = cache / f"arriving-{uuid.uuid4().hex}"
    try:
        bundle.write(arriving)
        arriving.rename(folder)
    except OSError as error:
        if not folder.exists():  # another process may have been faster
            raise LoadingFailed("le cache local est inaccessible ou plein ; vérifiez MODEL_CACHE") from error
    return folder


def main() -> None:
    """Print one line of JSON: the folder and the names, or the sentence that says why there is none."""
    parser = argparse.ArgumentParser(prog="python -m api.loader", description=main.__doc__)
    parser.add_argument("uri")
    parser.add_argument("cache", type=Path)
    options = parser.parse_args()
    try:
        outcome = load(options.uri, options.cache)
    except ModelUnavailable as error:
        outcome = {"error": str(error)}
    sys.stdout.write(json.dumps(outcome) + "\n")


if __name__ == "__main__":
    main()
