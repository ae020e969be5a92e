"""The highest number of a statement that was served under each model's name: nothing older is served again.

Anybody who can write to the registry can put back an old statement, whose signature is genuine. Its number
shows that it is old. The highest numbers are kept in a file of MODEL_CACHE, and lost with it. They are kept
per key: the numbers of a key that is no longer trusted do not count, however high a thief has counted.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from api.delivery import cache
from mlflow_model import files
from mlflow_model.bundle import signing
from mlflow_model.bundle.signing import Statement
from mlflow_model.errors import LoadingFailed
from mlflow_model.registry import store

FILE = "signed-numbers"
_LARGEST = 4 * 1024 * 1024
_LOCK_SECONDS = 10.0
_HEXADECIMAL = re.compile(r"[0-9a-f]{64}|[0-9a-f]{16}")

# By model, then by key: the number, and the digest of the manifest that has it.
Numbers = dict[str, dict[str, tuple[int, str]]]


def check(folder: Path, digest: str, name: str, signed: str | None) -> Statement | None:
    """Check what is to be served, and return its statement. None if no key is set. Raises LoadingFailed."""
    trusted = signing.trusted_keys()
    if trusted is None:
        return None
    statement = signing.checked(digest, name, signed, trusted)
    served = [one for key, one in _read(folder).get(_model(name), {}).items() if key in trusted]
    number, manifest = max(served, default=(0, ""))
    if statement.number < number or (statement.number == number and statement.manifest != manifest):
        raise LoadingFailed(
            f"sa signature porte le numéro {statement.number}, mais le numéro {number} a déjà été servi : "
            "c’est une ancienne signature, remise en place ; signez la version de nouveau avec "
            "« python register.py sign NUMÉRO --key CLE.pem »"
        )
    return statement


def remember(folder: Path, statement: Statement) -> None:
    """Remember that this statement is served. Raises LoadingFailed: then it must not be served."""
    with cache.in_words(), _locked(folder):
        numbers = _read(folder)
        of_model = numbers.setdefault(_model(statement.name), {})
        highest = max(of_model.get(statement.key_id, (0, "")), (statement.number, statement.manifest))
        if of_model.get(statement.key_id) != highest:
            of_model[statement.key_id] = highest
            cache.replace(folder / FILE, json.dumps(numbers).encode())


def _model(name: str) -> str:
    """The model's key in the file: a hash of its name and its registry's URI, which may hold a password."""
    return hashlib.sha256(f"{store.uri()}\n{name}".encode()).hexdigest()


def _read(folder: Path) -> Numbers:
    """The numbers in the file. Raises LoadingFailed if it is damaged: no numbers would let all pass."""
    try:
        content = files.read(folder / FILE, _LARGEST)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _damaged() from error
    try:
        found = json.loads(content)
        return {_key(model): dict(map(_entry, by_key.items())) for model, by_key in found.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged() from error


def _entry(item: tuple[str, Any]) -> tuple[str, tuple[int, str]]:
    key, (number, manifest) = item
    if type(number) is not int:
        raise ValueError("no number")
    return _key(key), (number, _key(manifest))


def _key(text: Any) -> str:
    if not (isinstance(text, str) and _HEXADECIMAL.fullmatch(text)):
        raise ValueError("no digest, and no id of a key")
    return text


def _damaged() -> LoadingFailed:
    return LoadingFailed(
        f"la mémoire des numéros servis est illisible ; rétablissez le fichier {FILE} de MODEL_CACHE, ou "
        "supprimez-le si le registre est sûr"
    )


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the file's lock: two services may share a cache. The kernel releases it when a process ends."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(folder / f"{FILE}.lock", flags, 0o600)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Take the lock, or give up after a while: its holder may be stopped. Raises OSError."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
