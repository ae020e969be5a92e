"""`python -m api.reviewing.version_process`: brings a version that is not served any more into the cache.

It is asked which one, and answers in which folder it is, or why it is refused: a process of its own,
because MLflow is slow and large, and ends with this process. Nothing of an artifact is used before its digest
is that of the receipt.
"""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from api import logs
from api.delivery import cache
from mlflow_model import files, processes
from mlflow_model.bundle import signing
from mlflow_model.bundle.trial import Trial
from mlflow_model.errors import LoadingFailed, NotInRegistry, NotUnderstood, OutOfReach
from mlflow_model.registry import lean_import

MEMORY_BYTES = 2 * 2**30

_log = logging.getLogger("scoring_client")


class Changed(Exception):
    """The registry has something else under this number, or nobody known has signed it."""


def main() -> None:
    processes.end_with_parent()
    processes.limit(memory=MEMORY_BYTES)
    processes.give_way()
    logs.configure()
    lean_import.prepare()
    processes.answer(_answer)


def _answer(name: str, version: str, digest: str, cache: str) -> dict[str, str]:
    try:
        return {"folder": str(_brought(name, version, digest, Path(cache)))}
    except NotInRegistry:
        return {"refused": "gone"}
    except (Changed, LoadingFailed) as error:
        _log.error("version %s of %s, which has decided, cannot be brought: %s", version, name, error)
        return {"refused": "changed" if isinstance(error, Changed) else "out of reach"}


def _brought(name: str, version: str, digest: str, folder: Path) -> Path:
    """Raises Changed or LoadingFailed."""
    with contextlib.closing(Trial()) as trial:
        kept = folder / digest
        if kept.is_dir() and files.exposed(folder) is None:
            with contextlib.suppress(Changed), _of_the_version():
                trial.verified(kept, digest)
                return kept
        kept = _fetched(name, version, digest, folder)
        with _of_the_version():
            trial.verified(kept, digest)
        return kept


def _fetched(name: str, version: str, digest: str, folder: Path) -> Path:
    from mlflow_model.registry import fetching, versions  # seconds

    named = versions.resolve(f"models:/{name}/{version}")
    if named.digest != digest:
        raise Changed("another bundle has its number")
    _require_signed(named.statement, name, digest)
    with _of_the_version(), cache.workplace(folder) as place:
        bundle = fetching.download(named, place)
    return cache.keep(bundle, folder)


@contextlib.contextmanager
def _of_the_version() -> Iterator[None]:
    """Say as Changed what is wrong with the version's own files."""
    try:
        yield
    except (OutOfReach, NotUnderstood):
        raise
    except LoadingFailed as error:
        raise Changed(error.detail) from error


def _require_signed(statement: str | None, name: str, digest: str) -> None:
    """Where keys are asked for, one must have signed this version; that may have expired. Raises Changed."""
    keys = signing.trusted_keys()
    if keys is None:
        return
    found = signing.genuine(statement, keys)
    if found is None or (found.name, found.manifest) != (name, digest):
        raise Changed("no known key has signed it")


if __name__ == "__main__":
    main()
