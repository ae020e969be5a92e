"""A folder among the temporary files that only this service may read. The system may remove it at any time.

The process that made a folder holds a lock on it. So the next start removes only the folders of killed
processes.
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

# Folders with this prefix are removed at a start: nothing else in /tmp is called so, not even a checkout.
_PREFIX = "scoring-client-private-"

# Systems remove temporary files after several days: renew them well before.
_FRESH_SECONDS = 3_600.0

_locks: dict[Path, int] = {}


def make() -> Path:
    """Make a new folder, and remove those that killed processes of this user have left."""
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
    """Make the folder again if it has been removed. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        _hold(folder)


def _hold(folder: Path) -> None:
    """Lock the folder. Make it again if another start has just removed it. Some disks know no locks."""
    _let_go(folder)
    with contextlib.suppress(OSError):
        _locks[folder] = files.hold(folder)


def _let_go(folder: Path) -> None:
    """Release the lock of the folder that had this name."""
    lock = _locks.pop(folder, None)
    if lock is not None:
        os.close(lock)


def _remove_abandoned() -> None:
    for entry in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # it has just been removed
            _require_own(entry)
            files.remove_if_abandoned(entry)


def write(file: Path, content: bytes) -> os.stat_result:
    """Replace the file in one step. Return the new file's status, for `is_as_written`. Raises OSError."""
    _require_own(file.parent)
    arriving = file.with_suffix(".arriving")
    descriptor = os.open(arriving, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as opened:  # noqa: PTH123 - a descriptor
        opened.write(content)
    arriving.replace(file)
    return file.stat()


def is_as_written(file: Path, written: os.stat_result | None) -> bool:
    """Whether the file is unchanged since it was written, and young enough not to be removed soon."""
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
    """Check that the folder is this user's own: another may have made it again. Raises PermissionError."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(0, "the folder belongs to somebody else")
