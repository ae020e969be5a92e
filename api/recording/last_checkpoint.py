"""When the last checkpoint was signed, by the names in the folder that the service puts them into."""

import contextlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from journal import checkpoint_files

_CLOCKS_APART = timedelta(hours=1)


def time_in(folder: Path) -> float:
    """Seconds since 1970, of the newest one; 0 where there is none, or no folder.

    Names that tell no time, or one that is to come, are not ours: such a file would silence the alarm.
    """
    latest = checkpoint_files.name(datetime.now(UTC) + _CLOCKS_APART, 0)
    names: list[str] = []  # they sort by their times: one year has fifty thousand
    with contextlib.suppress(OSError), os.scandir(folder) as there:
        names = sorted(one.name for one in there if one.name < latest and checkpoint_files.is_name(one.name))
    times = map(checkpoint_files.time_of, reversed(names))
    return next((time for time in times if time is not None), 0.0)
