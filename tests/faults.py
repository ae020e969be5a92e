"""Faults that tests bring about: a disk that is full or only read, a clock that jumps, a silent server."""

import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

_CLOCK = r"""
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long shift(void) {
    long seconds = 0;
    FILE *file = fopen(getenv("CLOCK_SHIFT"), "r");
    if (file) { if (fscanf(file, "%ld", &seconds) != 1) seconds = 0; fclose(file); }
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME) now->tv_sec += shift();
    return failed;
}
"""


class Clock:
    """Another date for the processes that are started with this environment."""

    def __init__(self, folder: Path) -> None:
        self._shift, source, library = (folder / name for name in ("shift", "clock.c", "clock.so"))
        source.write_text(_CLOCK)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(self._shift)}
        self.jump(0)

    def jump(self, seconds: int) -> None:
        """To so many seconds after the true time, all at once."""
        aside = self._shift.with_suffix(".new")
        aside.write_text(str(seconds))
        aside.rename(self._shift)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of this size in the folder."""
    if os.getuid() != 0:
        pytest.skip("only root mounts a small file system")
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@contextmanager
def only_read(disk: Path) -> Iterator[None]:
    """No file that is not open yet can be written."""
    _remount(disk, "ro")
    try:
        yield
    finally:
        _remount(disk, "rw")


def _remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True, capture_output=True)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Not a byte is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4_096)):
                pass
        except OSError:
            pass
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def without_growth(pid: int, size: int) -> Iterator[None]:
    """The process may write no file beyond this size."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def silence_at(port: int) -> Iterator[None]:
    """Whoever connects is accepted, and hears nothing."""
    with socket.create_server(("127.0.0.1", port), backlog=1_000, reuse_port=False) as listener:
        yield
        listener.settimeout(0.1)
        _hang_up(listener)


def _hang_up(listener: socket.socket) -> None:
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            return
        with closing(connection):
            pass
