"""Child processes of this project: their environment, their limits, and their end with their parent."""

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_PARENT = "SCORING_PARENT_PID"
_SET_PARENT_DEATH_SIGNAL = 1  # prctl(2), PR_SET_PDEATHSIG


def environment(**more: str) -> dict[str, str]:
    """The environment of a child that finds this project's modules first, and relative paths as we do."""
    ours = {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", _PARENT: str(os.getpid())}
    return {**os.environ, **ours, **more}


def end_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends, even if it is stopped.

    For a child that was given `environment()`. Elsewhere than on Linux it relies on its pipes.
    """
    parent = os.environ.get(_PARENT)
    if parent is None or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != int(parent):  # it ended before we could ask
        os._exit(1)


def set_aside(descriptor: int) -> int:
    """A private duplicate of an output. What others write to it, C libraries too, is lost from now on."""
    private = os.dup(descriptor)
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device
        os.dup2(nowhere.fileno(), descriptor)
    return private


def limit(
    *, memory: int | None = None, file_bytes: int | None = None, processor_seconds: int | None = None
) -> None:
    """Bound this process's address space, the size of each file that it writes, and its processor time.

    A limit that the system has set lower stays.
    """
    limits = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_CPU: processor_seconds,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in limits.items():
        if value is not None:
            _, hard = resource.getrlimit(kind)
            most = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (most, most))
