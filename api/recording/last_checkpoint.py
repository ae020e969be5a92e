"""When the last checkpoint was signed, by the names in the folder that the service puts them into."""

import contextlib
import os
from pathlib import Path

from journal import checkpoint_files


def time_in(folder: Path) -> float:
    """Seconds since 1970, of the newest one; 0 where there is none, or no folder."""
    newest = ""  # the names sort by their times: one year has fifty thousand
    with contextlib.suppress(OSError), os.scandir(folder) as there:
        newest = max((one.name for one in there if checkpoint_files.is_name(one.name)), default="")
    return checkpoint_files.time_of(newest) or 0.0
