"""The cache: verified copies, each in a folder named by its digest, and which of them a URI named last.

Code of a copy runs in the service. So nothing is read from a folder that another user may write to.
"""

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api.delivery.news import Copy
from mlflow_model import files
from mlflow_model.errors import LoadingFailed, OutOfReach
from mlflow_model.registry import store

if TYPE_CHECKING:
    from mlflow_model.bundle.bundles import Bundle

_KEPT_COPIES = 20
_MOST_POINTER_BYTES = 2**16


def keep(bundle: "Bundle", folder: Path) -> Path:
    """Write a copy, which appears whole or not at all, and return its folder. Raises OutOfReach."""
    with in_words(), workplace(folder) as place:
        kept = folder / bundle.digest
        if not _holds(kept, bundle):
            if kept.exists() or kept.is_symlink():
                kept.rename(place / "damaged")
            _write(bundle, kept, place / "new")
        kept.touch()
        _tidy(folder, kept)
        return kept


def recall(uri: str, folder: Path) -> Copy | None:
    """The copy that the URI named last, not confirmed. None if there is none of this service's own user."""
    try:
        if files.exposed(folder) is not None:
            return None
        content = _read_pointer(_pointer(uri, folder))
        kept = folder / Path(content["folder"]).name
        copy = Copy(**{**content, "folder": str(kept), "confirmed": False})
        return copy if kept.is_dir() else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def remember(uri: str, folder: Path, copy: Copy) -> None:
    """Remember the copy for the next start. Raises OutOfReach."""
    replace(_pointer(uri, folder), json.dumps(asdict(copy)).encode())


def replace(file: Path, content: bytes) -> None:
    """Replace a file of the cache in one step: a crash leaves the old one whole. Raises OutOfReach."""
    with in_words(), workplace(file.parent) as place:
        arriving = place / file.name
        files.write(arriving, content)
        files.settle(arriving)
        arriving.replace(file)
        files.settle(file.parent)


@contextlib.contextmanager
def workplace(folder: Path) -> Iterator[Path]:
    """A folder in the cache for files that are still arriving. Raises OutOfReach."""
    with contextlib.ExitStack() as stack:
        with in_words():
            _require_private(folder)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            place = stack.enter_context(files.workplace(folder))
        yield place


def exposure(folder: Path) -> str | None:
    """Why code from this folder must not run, as a command line says it; None if it may."""
    try:
        place = files.exposed(folder)
    except OSError:  # then nothing can be read from it either
        return None
    if place is None:
        return None
    return (
        f"MODEL_CACHE {folder} is no safe place: whoever may write to {place} runs code in this service. "
        f"chmod 700 {place}, which must be this user's own, or name another folder"
    )


def _require_private(folder: Path) -> None:
    if files.exposed(folder) is not None:
        raise OutOfReach(
            "le cache local est ouvert à d’autres utilisateurs ; réservez-le (chmod 700 MODEL_CACHE)"
        )


def _holds(kept: Path, bundle: "Bundle") -> bool:
    from mlflow_model.bundle import bundles  # imports NumPy, which the supervisor does not need

    try:
        is_own = not kept.is_symlink() and files.exposed(kept) is None
        return is_own and kept.exists() and bundles.read(kept) == bundle
    except LoadingFailed:
        return False


def _write(bundle: "Bundle", kept: Path, arriving: Path) -> None:
    try:
        bundle.write(arriving)
        arriving.rename(kept)
    except OSError:
        if not kept.exists():  # another process may have been faster
            raise


def _tidy(folder: Path, kept: Path) -> None:
    """Remove old copies. Keep the newest, those that a URI named last, and this one whatever its date."""
    files.remove_abandoned(folder)
    named = {kept.name, *(name for pointer in folder.glob("*.json") for name in _named_by(pointer))}
    entries = sorted((entry for entry in folder.iterdir() if entry.is_dir()), key=_age)
    copies = [entry for entry in entries if not files.is_unfinished(entry)]
    for entry in copies[_KEPT_COPIES:]:
        if entry.name not in named:
            shutil.rmtree(entry, ignore_errors=True)


def _named_by(pointer: Path) -> list[str]:
    try:
        return [Path(_read_pointer(pointer)["folder"]).name]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return []


def _age(entry: Path) -> float:
    try:
        return time.time() - entry.stat().st_mtime
    except OSError:  # another process has just removed it
        return 0.0


def _read_pointer(pointer: Path) -> dict[str, Any]:
    return dict(json.loads(files.read(pointer, _MOST_POINTER_BYTES)))


def _pointer(uri: str, folder: Path) -> Path:
    """The file that remembers a URI's copy. Its name holds the registry too: two may each have a champion."""
    key = hashlib.sha256(f"{store.uri()}\n{uri}".encode()).hexdigest()
    return folder / f"{key}.json"


@contextlib.contextmanager
def in_words() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutOfReach("le cache local est inaccessible ou plein ; vérifiez MODEL_CACHE") from error
