"""Begins commands on a machine that lacks something: in a mount namespace, where root lacks it too."""

import functools
import shutil
import subprocess
from pathlib import Path

import pytest

_PRIVATE = ("unshare", "--map-root-user", "--mount")


def read_only(folder: Path) -> list[str]:
    """How a command begins that finds this folder read-only."""
    return _after('mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"', folder)


def without(file: Path | str) -> list[str]:
    """How a command begins that finds nothing in this file."""
    return _after('mount --bind /dev/null "$0" && exec "$@"', file)


def _after(change: str, place: Path | str) -> list[str]:
    if not _is_possible():
        pytest.skip("unshare(1) is absent, or this user may make no mount namespace")
    return [*_PRIVATE, "sh", "-c", change, str(place)]


@functools.cache
def _is_possible() -> bool:
    attempt = [*_PRIVATE, "mount", "--bind", "/dev/null", "/dev/zero"]
    return bool(shutil.which("unshare")) and not subprocess.run(attempt, capture_output=True).returncode
