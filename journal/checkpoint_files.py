"""What files of checkpoints are called: by their time and size, so that their names sort by their times."""

import re
from datetime import UTC, datetime

SUFFIX = ".txt"

_TIME = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(rf"(?P<time>[0-9]{{8}}T[0-9]{{6}}Z)-[0-9]+{re.escape(SUFFIX)}", re.ASCII)


def name(moment: datetime, size: int) -> str:
    """Of the checkpoint of so many records that was signed at the moment, in UTC."""
    return f"{moment:{_TIME}}-{size}{SUFFIX}"


def is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def time_of(text: str) -> float | None:
    """When the checkpoint of this name was signed, in seconds since 1970. None where the name tells none."""
    match = _NAME.fullmatch(text)
    if match is None:
        return None
    try:
        return datetime.strptime(match["time"], _TIME).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
