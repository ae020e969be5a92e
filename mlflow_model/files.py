"""Reads files that others may have changed, with bounds, and writes files for this user alone."""

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

_WRITABLE_BY_GROUP, _WRITABLE_BY_OTHERS = stat.S_IWGRP, stat.S_IWOTH
_UNFINISHED = "arriving-"


class NotTrusted(OSError):
    """Not a regular file, or one that another user may have written."""


class StillWritten(OSError):
    """The file grew or shrank while it was read."""


class TooLarge(OSError):
    """The file is larger than the caller allows."""


def read(path: Path, most: int, *, own: bool = True, link: bool = False) -> bytes:
    """The content of a regular file of at most `most` bytes. Devices and pipes are refused without waiting.

    `own`: only this user or root may be able to write to it. `link`: the path may be a symbolic link. Raises
    OSError, among them NotTrusted, TooLarge and StillWritten.
    """
    follow = 0 if link else os.O_NOFOLLOW
    file = os.open(path, os.O_RDONLY | follow | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        found = os.fstat(file)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(found.st_mode) or (own and _is_open_to_others(found)):
            raise NotTrusted(str(path))
        with os.fdopen(file, "rb", closefd=False) as stream:
            content = stream.read(min(found.st_size, most) + 1)  # asks for this memory before it reads
    finally:
        os.close(file)
    if max(len(content), found.st_size) > most:
        raise TooLarge(str(path))
    if len(content) != found.st_size:
        raise StillWritten(errno.EAGAIN, "the file changes while it is read", str(path))
    return content


def write(path: Path, content: bytes) -> None:
    """Write a new file that only this user may read and write, whatever the umask is."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "wb") as stream:
        stream.write(content)


def settle(place: Path) -> None:
    """Force a file's content, or a folder's list of entries, to the disk. Raises OSError."""
    descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def exposed(folder: Path) -> Path | None:
    """The folder itself, or the first one above it, in which another user could put files of their own.

    None if there is no such folder. Above the folder, a group may have write access, because the files in the
    folder itself are checked one by one. A sticky folder such as /tmp is safe: nobody can replace what others
    own.
    """
    folder = folder.absolute()
    for place in (folder, *folder.resolve().parents):
        try:
            found = place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        if place == folder:
            is_exposed = not stat.S_ISDIR(found.st_mode) or _is_open_to_others(found)
        else:
            is_sticky = bool(found.st_mode & stat.S_ISVTX)
            is_exposed = not _is_ours(found) or (bool(found.st_mode & _WRITABLE_BY_OTHERS) and not is_sticky)
        if is_exposed:
            return place
    return None


def _is_open_to_others(found: os.stat_result) -> bool:
    return not _is_ours(found) or bool(found.st_mode & (_WRITABLE_BY_GROUP | _WRITABLE_BY_OTHERS))


def _is_ours(found: os.stat_result) -> bool:
    return found.st_uid in (os.geteuid(), 0)


@contextlib.contextmanager
def workplace(within: Path) -> Iterator[Path]:
    """A new folder for unfinished files. What is still in it at the end is removed.

    It is locked while this process lives, so that `remove_abandoned` removes only what dead processes left.
    """
    place = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=within))
    lock = hold(place)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(lock)


def hold(folder: Path) -> int:
    """Lock the folder against `remove_if_abandoned`, until the descriptor is closed or this process ends.

    Raises OSError.
    """
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:
        os.close(lock)
        raise
    return lock


def is_unfinished(entry: Path) -> bool:
    return entry.name.startswith(_UNFINISHED)


def remove_abandoned(within: Path) -> None:
    """Remove the workplaces of processes that were killed."""
    for entry in within.glob(f"{_UNFINISHED}*"):
        remove_if_abandoned(entry)


def remove_if_abandoned(entry: Path) -> None:
    """Remove a file or folder unless a process holds it."""
    with contextlib.suppress(OSError):  # another process holds it, or has just removed it
        lock = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        finally:
            os.close(lock)
