"""What may stand where a run writes: nothing, a regular file that it replaces, or an empty folder.

A file or folder that is whole is renamed to its name. Over a device, a pipe or a link that would replace what
others use, and over a mount point it fails once all is decided. So both are refused before anything is read.
"""

import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from batch.errors import Refused
from batch.raw_input import STANDARD

_MOUNTS = Path("/proc/self/mountinfo")  # proc(5)
_MOUNT_POINT = 4  # which of its fields
_ESCAPED = re.compile(rb"\\([0-7]{3})")
_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


def check(output: str, files: Iterable[tuple[str, Path | None]]) -> None:
    """`output`: as it is given. `files`: the other options that name a file. Raises Refused."""
    if output != STANDARD:
        _check("--output", Path(output), "name a file or a folder, or - for standard output", _KINDS)
    for option, path in files:
        if path is not None:
            _check(option, path, "name a file", {**_KINDS, stat.S_IFDIR: "a folder"})


def is_folder(output: str) -> bool:
    return output.endswith(os.sep) or os.path.isdir(output)  # noqa: PTH112 - also of a name too long


def _check(option: str, path: Path, way_out: str, kinds: Mapping[int, str]) -> None:
    """`kinds`: those of which none may be there."""
    try:
        mode = path.lstat().st_mode
    except (OSError, ValueError):  # nothing is there; or the system says more when the file is opened
        return
    if kind := kinds.get(stat.S_IFMT(mode)):
        raise Refused(f"{option} {path} is {kind}, which a file must not replace: {way_out}")
    if _is_mount_point(path):
        place = "a folder in it" if stat.S_ISDIR(mode) else "another file"
        raise Refused(f"{option} {path} is a mount point, which cannot be replaced: name {place}")


def _is_mount_point(path: Path) -> bool:
    """Also of a file, and of another place of the same file system, as containers have them."""
    try:
        mounts = _MOUNTS.read_bytes().splitlines()
    except OSError:  # not every system has it
        return path.is_mount()
    real = os.path.realpath(os.fsencode(path))
    return any(_unescaped(mount.split(b" ")[_MOUNT_POINT]) == real for mount in mounts)


def _unescaped(field: bytes) -> bytes:
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), field)
