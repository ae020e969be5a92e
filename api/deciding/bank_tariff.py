"""The loans that may be offered, as the file says that TARIFF_FILE names: read anew when it changes."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from api.followed_file import BadFile, FollowedFile
from api.settings import TARIFF_FILE, Settings

if TYPE_CHECKING:
    from explain.tariff import Tariff


def parse(content: bytes) -> "Tariff":
    """Raises BadFile."""
    from explain.tariff import BadTariff, Tariff  # whoever only decides has no need of it

    try:
        return Tariff.of_json(content)
    except BadTariff as error:
        raise BadFile(f"{TARIFF_FILE} holds no tariff: {error}") from error


def in_force() -> "Tariff":
    """The bank's tariff, or without a file all loans that are plausible. Raises BadFile."""
    from explain.tariff import PLAUSIBLE

    file = Settings.from_environment().tariff_file
    if file is None:
        return PLAUSIBLE
    followed = _followed(file)
    followed.look()
    return followed.held


@functools.lru_cache(maxsize=1)
def _followed(file: Path) -> "FollowedFile[Tariff]":
    return FollowedFile(TARIFF_FILE, file, parse)
