"""What the commands need of a machine: a Python, packages, and a library of the system.

The standard library alone, in what any Python 3 can read: `install.py` needs it before anything is installed.
"""

import ctypes
import errno
import importlib.util
import os
import resource
import sys
from typing import NoReturn

OLDEST, NEWEST = (3, 11), (3, 14)
REFUSED = 2  # the exit code of a command that begins on a machine without what it needs
# The exit codes of a child process, whose standard error nobody reads.
WITHOUT_PACKAGES, WITHOUT_LIBRARY = 3, 4
# LightGBM's wheel for Linux links to it and does not bring it; slim systems leave it out.
LIBRARY, ITS_PACKAGE = "libgomp.so.1", "libgomp1"
# What the system says where it has no memory, and its loader about a library.
NO_MEMORY = (os.strerror(errno.ENOMEM), "failed to map segment")
# Where no byte more can be written, by the system's number: three causes, of which only one is a full disk.
NO_ROOM = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the quota of the disk is used up: free some space, or raise it",
    errno.EFBIG: "a file may not become larger (ulimit -f): raise this limit",
}

_PACKAGES_ARE_MISSING = "packages are missing: run make serve, or source .venv/bin/activate"


def require(*packages: str) -> None:
    """End a command with one sentence if it cannot import these packages here, or LightGBM its library."""
    if sys.version_info < OLDEST:
        refuse(f"{_another_python()}: run make serve, or source .venv/bin/activate")
    if missing_packages(*packages):
        refuse(_in_this_environment() if sys.prefix != sys.base_prefix else _PACKAGES_ARE_MISSING)
    if "lightgbm" in packages:
        _require_library()


def _in_this_environment() -> str:
    return f"packages are missing in this environment: {sys.executable} -m pip install -r requirements.txt"


def require_of_child(*packages: str) -> None:
    """End a child process that needs these packages and LightGBM. Its exit code tells what is missing."""
    if missing_packages(*packages):
        sys.exit(WITHOUT_PACKAGES)
    if is_library_missing():
        sys.exit(WITHOUT_LIBRARY)


def require_installable() -> None:
    """Refuse a machine that nothing useful could be installed on."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        refuse(f"{_another_python()}: name another with PYTHON=/path/to/python")
    if missing_packages("ensurepip", "venv"):
        refuse(f"{sys.executable} cannot make environments: apt-get install python3-venv")
    _require_library()


def missing_packages(*names: str) -> "list[str]":
    return [name for name in names if importlib.util.find_spec(name) is None]


def is_library_missing() -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return True
    return False


def lacks_memory(error: "BaseException | None") -> bool:
    """Whether memory ended, also where a package's library found none and Python speaks of something else."""
    while error is not None:
        is_unsaid = isinstance(error, SystemError) and _has_a_limit_of_memory()
        if isinstance(error, MemoryError) or is_unsaid or any(sign in str(error) for sign in NO_MEMORY):
            return True
        error = error.__cause__ or error.__context__
    return False


def lacks_room(error: "BaseException | None") -> "int | None":
    """The number in NO_ROOM that is the cause, also of an error that quotes the system. None: another one."""
    while error is not None:
        for number in NO_ROOM:
            if getattr(error, "errno", None) == number or os.strerror(number) in str(error):
                return number
        error = error.__cause__ or error.__context__
    return None


def why_not_written(error: "OSError") -> str:
    """In words that go on a sentence behind a colon or in brackets."""
    room = lacks_room(error)
    if room is not None:
        return NO_ROOM[room]
    return os.strerror(error.errno) if error.errno else "the system refuses it"


def _has_a_limit_of_memory() -> bool:
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def require_addresses(mebibytes: int, what_for: str) -> None:
    """End a command under a lower limit of addresses, before a native library ends it in its own way."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if _has_a_limit_of_memory() and limit < mebibytes * 2**20:
        refuse(
            f"the memory is not enough for this command: {what_for} needs {mebibytes:,} MiB of addresses, "
            f"and the limit (ulimit -v) is {limit // 2**20:,} MiB"
        )


def refuse(sentence: str) -> NoReturn:
    """End the process with this sentence and the exit code of all refusals."""
    sys.stderr.write(sentence + "\n")
    sys.exit(REFUSED)


def wanted_python() -> str:
    return f"Python {written(OLDEST)} to {written(NEWEST)} is needed"


def written(version: "tuple[int, ...]") -> str:
    return ".".join(map(str, version))


def _another_python() -> str:
    return f"{wanted_python()}, and {sys.executable} is {written(sys.version_info[:3])}"


def _require_library() -> None:
    if is_library_missing():
        refuse(f"{LIBRARY} is missing: apt-get install {ITS_PACKAGE}")


def cores() -> int:
    """The cores that this process may use: in a container or under taskset not all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
