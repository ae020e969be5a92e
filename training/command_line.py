"""What the commands of this package share: reading numbers, trying folders."""

import argparse
import tempfile
from pathlib import Path

from mlflow_model import machine

MOST_CLIENTS = 100_000_000


def clients(text: str) -> int:
    return _whole(text, 1, MOST_CLIENTS)


def threads(text: str) -> int:
    return _whole(text, 1, 1024)


def seed(text: str) -> int:
    return _whole(text, 0, 2**31 - 1)


def _whole(text: str, lowest: int, highest: int) -> int:
    # Bound the length first: Python raises an error of its own for more than 4,300 digits.
    if not (text.isdecimal() and len(text) < 100 and lowest <= int(text) <= highest):
        raise argparse.ArgumentTypeError(f"must be a whole number from {lowest} to {highest}")
    return int(text)


class NotWritable(OSError):
    def __init__(self, folder: Path, error: OSError) -> None:
        super().__init__(f"{folder} cannot be written to: {machine.why_not_written(error)}")


def try_writing(folder: Path, asked: Path) -> None:
    """Check that the folder, or the one it will be made in, can be written to. Leaves nothing behind.

    Raises NotWritable, which names the folder `asked`.
    """
    try:
        there = next(place for place in (folder, *folder.parents) if place.exists())
        with tempfile.TemporaryDirectory(dir=there, prefix=".training-"):
            pass
    except OSError as error:
        raise NotWritable(asked, error) from error
