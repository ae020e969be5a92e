"""Brings the model that MODEL_URI names into the local cache, in a process of its own, and says where it is.

MLflow is slow, large and can hang; LightGBM's parser can end the process that parses. Neither may happen to a
process that answers requests: this one resolves, copies, verifies and tries the model out, then prints one
line of JSON.
"""

import argparse
import contextlib
import gc
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

from api import remembered
from api.news import Copy, News
from mlflow_model import bundle as bundles
from mlflow_model import legacy
from mlflow_model.bundle import Bundle
from mlflow_model.errors import LoadingFailed, ModelUnavailable

# MLflow's own defaults wait for minutes before they give up.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


def load(uri: str, cache: Path) -> Copy:
    """Put the verified bundle into the cache, where this URI is known to name it. Raises ModelUnavailable."""
    name: str
    version = alias = None
    if remembered.is_pickle(uri):
        bundle, _ = legacy.convert(Path(uri))
        name = Path(uri).name
    else:
        for variable, value in _PATIENCE.items():
            os.environ.setdefault(variable, value)
        from mlflow_model import registry

        fetched = registry.fetch(uri)
        bundle, name, version, alias = fetched.bundle, fetched.name, fetched.version, fetched.alias
    bundle.scorer()
    with _cache_in_words():
        copy = Copy(str(_cached(bundle, cache)), name, version, alias)
        remembered.remember(uri, cache, copy)
    return copy


@contextlib.contextmanager
def _cache_in_words() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LoadingFailed("le cache local est inaccessible ou plein ; vérifiez MODEL_CACHE") from error


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
    except OSError:
        if not folder.exists():  # another process may have been faster
            raise
    return folder


def main() -> None:
    """Print one line of JSON: the copy, or the sentence that says why there is none."""
    parser = argparse.ArgumentParser(prog="python -m api.loader", description=main.__doc__)
    parser.add_argument("uri")
    parser.add_argument("cache", type=Path)
    options = parser.parse_args()
    gc.disable()  # a tenth of the time, in a process that ends before it could matter
    try:
        news = News(load(options.uri, options.cache))
    except ModelUnavailable as error:
        news = News(problem=str(error))
    sys.stdout.buffer.write(news.line())


if __name__ == "__main__":
    main()
