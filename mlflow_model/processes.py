"""Child processes of this project: their environment, their limits, and their end with their parent."""

import contextlib
import ctypes
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_PARENT = "SCORING_PARENT_PID"
# What some machines need so that libraries are found, and compute as in the other processes. No secrets, and
# no LD_PRELOAD: what it names may itself need to be told more.
_OF_THE_MACHINE = (
    "PATH",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "GLIBC_TUNABLES",
    "NPY_DISABLE_CPU_FEATURES",
    "OPENBLAS_CORETYPE",
)
_SET_PARENT_DEATH_SIGNAL = 1  # prctl(2), PR_SET_PDEATHSIG


def environment(**more: str) -> dict[str, str]:
    """The environment of a child that finds this project's modules first, and relative paths as we do."""
    return {**os.environ, **bare_environment(**more)}


def bare_environment(**more: str) -> dict[str, str]:
    """The same for a child that is told nothing else of ours: no token, no key, no address."""
    machine = {name: os.environ[name] for name in _OF_THE_MACHINE if name in os.environ}
    return {**machine, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", _PARENT: str(os.getpid()), **more}


def end_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends, even if it is stopped.

    For a child that was given one of our environments. Elsewhere than on Linux it relies on its pipes.
    """
    parent = os.environ.get(_PARENT)
    if parent is None or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != int(parent):  # it ended before we could ask
        os._exit(1)


def end(process: "subprocess.Popen[bytes]", seconds: float = 5.0) -> None:
    """Wait for a child that has said all that it had to say. If it goes on, kill it."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.kill()


def open_standard_streams() -> None:
    """To nowhere where they are closed, here and in children: what is opened later would be one of them."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def set_aside(descriptor: int) -> int:
    """A private duplicate of an output. What others write to it, C libraries too, is lost from now on."""
    private = os.dup(descriptor)
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device
        os.dup2(nowhere.fileno(), descriptor)
    return private


def limit(
    *,
    memory: int | None = None,
    file_bytes: int | None = None,
    processor_seconds: int | None = None,
    open_files: int | None = None,
) -> None:
    """Bound this process's address space, the size of each file that it writes, its processor time and files.

    Out of processor time it ends by SIGXCPU, which nobody else sends. A limit that the system has set lower
    stays.
    """
    limits = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_CPU: processor_seconds,
        resource.RLIMIT_NOFILE: open_files,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in limits.items():
        if value is not None:
            # A second more: where both are equal, Linux sends SIGKILL at once.
            most = value + 1 if kind == resource.RLIMIT_CPU else value
            _, hard = resource.getrlimit(kind)
            hard = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (min(value, hard), hard))


def beside_the_log(file_bytes: int) -> int:
    """A `limit` on files that leaves the log: a standard error that is a file may be as large already.

    It may grow by a gigabyte until the child that is limited is a new one.
    """
    log = os.fstat(2)
    return log.st_size + 1024**3 if stat.S_ISREG(log.st_mode) else file_bytes


_lowered = threading.Lock()
_lowering = 0
_former_soft = resource.RLIM_INFINITY


@contextlib.contextmanager
def no_file_beyond(most: int) -> Iterator[None]:
    """While this lasts, writing more than so many bytes to a file fails with EFBIG, in every thread.

    Threads that do this at once must name the same number.
    """
    global _lowering, _former_soft
    with _lowered:
        if not _lowering:
            _former_soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            unlimited = _former_soft == resource.RLIM_INFINITY
            resource.setrlimit(resource.RLIMIT_FSIZE, (most if unlimited else min(most, _former_soft), hard))
        _lowering += 1
    try:
        yield
    finally:
        with _lowered:
            _lowering -= 1
            if not _lowering:
                _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
                resource.setrlimit(resource.RLIMIT_FSIZE, (_former_soft, hard))
