"""Keeps copies of the files that the operator may change: of each its last good content.

Only the supervisor reads the operator's files. The environment of its children names the copies instead. So a
file that has become unreadable or is half written reaches no child, and a new worker begins with what the
others have.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from api import private_folder, tokens
from api.deciding import bank_tariff
from api.followed_file import FollowedFile
from api.repeated import Repeated
from api.settings import TARIFF_FILE, TOKENS_FILE, refuse
from mlflow_model.bundle import signing

_LOOK_SECONDS = 0.25
# By the variable that names the file: a function that raises ValueError unless the content is valid.
_CHECKS: dict[str, Callable[[bytes], object]] = {
    TOKENS_FILE: tokens.parse,
    TARIFF_FILE: bank_tariff.parse,
    signing.PUBLIC_KEY: signing.require_keys_in,
}

_log = logging.getLogger("scoring_client")


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Let the environment name copies, which follow the operator's files, until the context ends."""
    named = {name: Path(os.environ[name]) for name in _CHECKS if os.environ.get(name)}
    if not named:
        yield
        return
    folder = private_folder.make()
    looks: list[Repeated] = []
    try:
        files = _copied(named, folder)
        os.environ.update({one.variable: str(one.copy) for one in files})
        looks += [Repeated(one.look, _LOOK_SECONDS, f"following {one.variable}") for one in files]
        yield
    finally:
        for look in looks:
            look.stop()
        os.environ.update({name: str(file) for name, file in named.items()})
        private_folder.remove(folder)


def _copied(named: Mapping[str, Path], folder: Path) -> "list[_KeptFile]":
    """Make the copies. End the process with one sentence if a file is not valid."""
    try:
        return [_KeptFile(name, file, folder / name) for name, file in named.items()]
    except ValueError as error:
        refuse(str(error))
    except OSError as error:
        sys.exit(f"temporary files cannot be written ({error.strerror}): set TMPDIR")


class _KeptFile:
    def __init__(self, variable: str, file: Path, copy: Path) -> None:
        """Raises ValueError if the file is not valid, OSError if no copy can be made."""
        self.variable, self.copy = variable, copy
        self._followed = FollowedFile(variable, file, self._checked)
        self._written = private_folder.write(copy, self._followed.held)
        self._fails = False

    def look(self) -> None:
        """Follow the file, and make the copy again if somebody has removed or touched it."""
        has_changed = self._followed.look()
        if has_changed:
            _log.info("%s has changed", self.variable)
        if has_changed or not private_folder.is_as_written(self.copy, self._written):
            self._write()

    def _write(self) -> None:
        try:
            private_folder.make_again(self.copy.parent)
            self._written = private_folder.write(self.copy, self._followed.held)
        except OSError as error:
            if not self._fails:
                _log.error("the copy of %s cannot be written (%s)", self.variable, error.strerror)
            self._fails = True
        else:
            self._fails = False

    def _checked(self, content: bytes) -> bytes:
        _CHECKS[self.variable](content)
        return content
