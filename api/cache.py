"""The folder of verified copies, each in a folder named by its digest, and which of them a URI named last."""

import contextlib
import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from api.news import Copy
from mlflow_model import store
from mlflow_model.errors import LoadingFailed, OutOfReach

if TYPE_CHECKING:
    from mlflow_model.bundle import Bundle

_KEPT_COPIES = 20
# What a process left behind that was killed while it wrote.
_UNFINISHED = ("arriving-", "damaged-")
_UNFINISHED_SECONDS = 3600.0


def keep(bundle: "Bundle", folder: Path) -> Path:
    """Where the copy is. It appears whole or not at all. Raises LoadingFailed."""
    with _in_words():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = folder / bundle.digest
        if not _holds(kept, bundle):
            if kept.exists():
                kept.rename(unfinished(folder, "damaged-"))
            _write(bundle, kept)
        kept.touch()
        _tidy(folder, kept)
        return kept


def recall(uri: str, folder: Path) -> Copy | None:
    """The copy, not confirmed; None where nothing is remembered, or no longer there."""
    try:
        content = json.loads(_pointer(uri, folder).read_bytes())
        copy = replace(Copy(**content), confirmed=False)
        return copy if Path(copy.folder).is_dir() else None
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def remember(uri: str, folder: Path, copy: Copy) -> None:
    """Replace the pointer in one step, so that a crash leaves the former one. Raises LoadingFailed."""
    with _in_words():
        arriving = unfinished(folder)
        arriving.write_text(json.dumps(asdict(copy)))
        arriving.replace(_pointer(uri, folder))


def unfinished(folder: Path, kind: str = "arriving-") -> Path:
    """A name that nothing has yet, for what is removed an hour later if its process was killed."""
    return folder / f"{kind}{uuid.uuid4().hex}"


def _holds(kept: Path, bundle: "Bundle") -> bool:
    from mlflow_model import bundle as bundles  # with NumPy, which the supervisor starts without

    try:
        return kept.exists() and bundles.read(kept) == bundle
    except LoadingFailed:
        return False


def _write(bundle: "Bundle", kept: Path) -> None:
    arriving = unfinished(kept.parent)
    try:
        bundle.write(arriving)
        arriving.rename(kept)
    except OSError:
        shutil.rmtree(arriving, ignore_errors=True)
        if not kept.exists():  # another process may have been faster
            raise


def _tidy(folder: Path, kept: Path) -> None:
    """Keep the newest copies, those that a URI named last, and this one, whatever the clock says of it."""
    named = {kept.name, *(name for pointer in folder.glob("*.json") for name in _named_by(pointer))}
    entries = sorted((entry for entry in folder.iterdir() if entry.is_dir()), key=_age)
    copies = [entry for entry in entries if not entry.name.startswith(_UNFINISHED)]
    unfinished = [entry for entry in entries if entry not in copies and _age(entry) > _UNFINISHED_SECONDS]
    for entry in [*unfinished, *copies[_KEPT_COPIES:]]:
        if entry.name not in named:
            shutil.rmtree(entry, ignore_errors=True)


def _named_by(pointer: Path) -> list[str]:
    try:
        return [Path(json.loads(pointer.read_bytes())["folder"]).name]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return []


def _age(entry: Path) -> float:
    return time.time() - entry.stat().st_mtime


def _pointer(uri: str, folder: Path) -> Path:
    """Named by the URI and its registry: two registries may each have a champion."""
    key = hashlib.sha256(f"{store.uri()}\n{uri}".encode()).hexdigest()
    return folder / f"{key}.json"


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutOfReach("le cache local est inaccessible ou plein ; vérifiez MODEL_CACHE") from error
