"""Says in one sentence what this machine lacks for a command to start, before anything fails for want of it.

It needs the standard library alone, and any Python 3: `make` runs it with the system's Python before it
installs anything (`python -m mlflow_model.machine`).
"""

from __future__ import annotations  # an older Python must get as far as the sentence about it

import ctypes
import importlib.util
import sys

OLDEST, NEWEST = (3, 11), (3, 14)
LACKING = 2  # the exit code

_OPENMP = "libgomp.so.1"


def require(*packages: str) -> None:
    """End the process with one sentence and exit code 2 unless these packages and LightGBM's library load."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    problem = _python() or _packages(missing) or _openmp()
    if problem is not None:
        _end(problem)


def _python() -> str | None:
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return None
    found, oldest, newest = (".".join(map(str, one)) for one in (sys.version_info[:3], OLDEST, NEWEST))
    return f"Python {oldest} to {newest} is needed, and this is {found}"


def _packages(missing: list[str]) -> str | None:
    if not missing:
        return None
    return f"packages are missing ({', '.join(missing)}): run make serve, or source .venv/bin/activate"


def _openmp() -> str | None:
    """LightGBM is linked to the system's OpenMP on Linux. Its own failure to load would name no package."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        ctypes.CDLL(_OPENMP)
    except OSError:
        return f"{_OPENMP} is missing: apt-get install libgomp1 (or your system's package of GNU OpenMP)"
    return None


def _end(problem: str) -> None:
    sys.stderr.write(f"{problem}\n")
    sys.exit(LACKING)


if __name__ == "__main__":
    require()
