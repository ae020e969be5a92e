"""Which verified copy a MODEL_URI named when it was last looked up: one small file in the cache for each."""

import hashlib
import json
import os
import uuid
from dataclasses import asdict, replace
from pathlib import Path

from api.news import Copy


def is_pickle(uri: str) -> bool:
    """Whether a MODEL_URI is the path of a documented pickle rather than an MLflow model URI."""
    return uri.endswith(".pkl")


def recall(uri: str, cache: Path) -> Copy | None:
    """The copy, not confirmed; None where nothing is remembered, or no longer there.

    A pickle is never remembered: the file itself is at hand, and may have been exchanged.
    """
    try:
        content = json.loads(_file(uri, cache).read_bytes())
        copy = replace(Copy(**content), confirmed=False)
    except (OSError, ValueError, TypeError):
        return None
    return copy if Path(copy.folder).is_dir() else None


def remember(uri: str, cache: Path, copy: Copy) -> None:
    """Replace the file in one step, so that a crash leaves the former one."""
    if is_pickle(uri):
        return
    arriving = cache / f"arriving-{uuid.uuid4().hex}"
    arriving.write_text(json.dumps(asdict(copy)))
    arriving.replace(_file(uri, cache))


def _file(uri: str, cache: Path) -> Path:
    """Named by the URI and its registry: two registries may each have a champion."""
    store = os.environ.get("MLFLOW_TRACKING_URI", "")
    if store.startswith("sqlite:///") and not store.startswith("sqlite:////"):
        store = f"sqlite:///{Path(store.removeprefix('sqlite:///')).absolute()}"
    key = hashlib.sha256(f"{store}\n{uri}".encode()).hexdigest()
    return cache / f"{key}.json"
