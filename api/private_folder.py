"""Folders of this service alone among the machine's temporary files, which are cleaned away at any time.

The process that made a folder holds a lock on it, so that the next start removes only what a killed one left.
"""

import contextlib
import os
import shutil
import stat
import sys
import tempfile
import time
from pathlib import Path

from mlflow_model import files

# A folder of this name may be removed: nobody else's has it, not even a checkout of this repository in /tmp.
_PREFIX = "scoring-client-private-"

# What removes old temporary files takes those of several days.
_FRESH_SECONDS = 3_600.0

_locks: dict[Path, int] = {}


def make() -> Path:
    """A new folder. Those that killed processes of this user have left are removed."""
    _remove_abandoned()
    try:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    except OSError as error:
        sys.exit(f"no temporary folder can be made ({error.strerror}): set TMPDIR")
    _hold(folder)
    return folder


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _let_go(folder)


def make_again(folder: Path) -> None:
    """If it has been removed. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        _hold(folder)


def _hold(folder: Path) -> None:
    """Another start may remove it just before, or the disk may know no locks: then it is made again."""
    _let_go(folder)
    with contextlib.suppress(OSError):
        _locks[folder] = files.hold(folder)


def _let_go(folder: Path) -> None:
    """Of the folder that had this name."""
    lock = _locks.pop(folder, None)
    if lock is not None:
        os.close(lock)


def _remove_abandoned() -> None:
    for entry in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # it has just been removed
            _require_own(entry)
            files.remove_if_abandoned(entry)


def write(file: Path, content: bytes) -> os.stat_result:
    """Replace the file in one step. Raises OSError.

    Returns what the system says of the new file.
    """
    _require_own(file.parent)
    arriving = file.with_suffix(".arriving")
    descriptor = os.open(arriving, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as opened:  # noqa: PTH123 - a descriptor
        opened.write(content)
    arriving.replace(file)
    return file.stat()


def is_as_written(file: Path, written: os.stat_result | None) -> bool:
    """Whether nobody has touched the file since, and it is too young to be cleaned away."""
    try:
        found = file.stat()
    except OSError:
        return False
    if written is None or time.time() - found.st_mtime > _FRESH_SECONDS:
        return False
    return (found.st_ino, found.st_mtime_ns, found.st_size) == (
        written.st_ino,
        written.st_mtime_ns,
        written.st_size,
    )


def _require_own(folder: Path) -> None:
    """A folder that was removed may have been made again by somebody else. Raises PermissionError."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(0, "the folder belongs to somebody else")
