"""What the commands of this package share: numbers that are read, folders that are tried, signals."""

import argparse
import contextlib
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

MOST_CLIENTS = 100_000_000


def clients(text: str) -> int:
    return _whole(text, 1, MOST_CLIENTS)


def threads(text: str) -> int:
    return _whole(text, 1, 1024)


def seed(text: str) -> int:
    return _whole(text, 0, 2**31 - 1)


def _whole(text: str, lowest: int, highest: int) -> int:
    # No number that long is asked for, and Python refuses to read one of 4,300 digits.
    if not (text.isdecimal() and len(text) < 100 and lowest <= int(text) <= highest):
        raise argparse.ArgumentTypeError(f"must be a whole number from {lowest} to {highest}")
    return int(text)


class NotWritable(OSError):
    def __init__(self, folder: Path, error: OSError) -> None:
        super().__init__(f"{folder} cannot be written to: {error.strerror or error}")


def try_writing(folder: Path, asked: Path) -> None:
    """Into the folder, or where it will be made; nothing is left behind. Raises NotWritable about `asked`."""
    try:
        there = next(place for place in (folder, *folder.parents) if place.exists())
        with tempfile.TemporaryDirectory(dir=there, prefix=".training-"):
            pass
    except OSError as error:
        raise NotWritable(asked, error) from error


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM interrupts as Ctrl-C does, so that what is unfinished is taken away."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
