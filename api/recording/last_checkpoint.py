"""When the last checkpoint was signed, by the names in the folder that the service puts them into."""

import contextlib
import os
import re
from datetime import UTC, datetime
from pathlib import Path

NAMES = "[0-9]*T[0-9]*Z-[0-9]*.txt"  # that journal.checkpoints gives
_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9]+\.txt")


def time_in(folder: Path) -> float:
    """Seconds since 1970, of the newest one; 0 where there is none, or no folder."""
    newest = ""  # the names sort by their times: one year has fifty thousand
    with contextlib.suppress(OSError), os.scandir(folder) as there:
        newest = max((one.name for one in there if _NAME.fullmatch(one.name)), default="")
    with contextlib.suppress(ValueError):
        return datetime.strptime(newest.partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    return 0.0
