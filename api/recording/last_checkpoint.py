"""When the last checkpoint was signed, by the names in the folder that the service puts them into."""

import contextlib
import os
from datetime import UTC, datetime
from pathlib import Path

NAMES = "[0-9]*T[0-9]*Z-[0-9]*.txt"  # that journal.checkpoints gives


def time_in(folder: Path) -> float:
    """Seconds since 1970, of the newest one; 0 where there is none, or no folder."""
    newest = 0.0
    with contextlib.suppress(OSError), os.scandir(folder) as there:
        for one in there:
            with contextlib.suppress(ValueError):
                signed = datetime.strptime(one.name.partition("-")[0], "%Y%m%dT%H%M%SZ")
                newest = max(newest, signed.replace(tzinfo=UTC).timestamp())
    return newest
