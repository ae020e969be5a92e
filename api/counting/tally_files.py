"""The files in which processes save their tallies: each writes its own, and whoever is asked reads all.

The supervisor (tally_folder.py) sums up those whose process has ended in a file of its own, and removes them.
It also names there the files that must be found: who reads knows then whether a sum would lack something.
"""

import contextlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from api import private_folder

ENDED = "ended.json"

_NAME = re.compile(r"(\d+)-[0-9a-f]{16}\.json", re.ASCII)

Content = dict[str, Any]
Read = Callable[[bytes], Content]


class Incomplete(Exception):
    """A file that must be there is not, or is damaged."""


class TallyFile:
    """This process's own file, under a name that no other process ever has."""

    def __init__(self, folder: str) -> None:
        self.path = Path(folder) / f"{os.getpid()}-{secrets.token_hex(8)}.json"
        self._written: os.stat_result | None = None
        with contextlib.suppress(OSError):  # the first `write` says so
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL, 0o600))

    @property
    def is_as_written(self) -> bool:
        return private_folder.is_as_written(self.path, self._written)

    def write(self, content: bytes) -> None:
        """Raises OSError."""
        self._written = private_folder.write(self.path, content)

    def others(self, read: Read) -> list[Content]:
        """What the other processes have counted, those that have ended included. Raises Incomplete."""
        found: dict[str, Content] = {}
        for file, _ in files_in(self.path.parent):
            with contextlib.suppress(OSError, ValueError):
                found[file.name] = read(file.read_bytes())
        try:  # last: a file that has been removed meanwhile is in this sum
            ended = json.loads((self.path.parent / ENDED).read_bytes())
            summed, wanted = set(ended["names"]), set(ended["living"])
            sum_of_ended = read(json.dumps(ended["sum"]).encode())
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Incomplete(ENDED) from error
        if wanted - found.keys() - {self.path.name}:
            raise Incomplete(str(wanted))
        without = summed | {self.path.name}
        return [sum_of_ended, *(content for name, content in found.items() if name not in without)]


def files_in(folder: Path) -> Iterator[tuple[Path, int]]:
    """The file of each process, and its process. Anything else in the folder is none of ours."""
    for file in folder.glob("*.json"):
        if match := _NAME.fullmatch(file.name):
            yield file, int(match[1])
