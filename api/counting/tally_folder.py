"""The supervisor's part in counting: the folder of the tallies, and what those that have ended had counted.

No counter falls: not when a process ends, nor when its number is another's later, nor when whatever cleans
temporary files removes them, or all of the folder. And their files do not grow in number.
"""

import contextlib
import json
import logging
import os
from collections import deque

from api import private_folder
from api.counting import counts, tally_files
from api.counting.counts import Counts
from api.repeated import Repeated

_LOOK_SECONDS = 1.0
# Whoever sums up meanwhile still meets a file that has just been added to the sum, under its name.
_NAMES = 1_000

_log = logging.getLogger("scoring_client")


class TallyFolder:
    """`name` is its path. `cleanup` removes it."""

    def __init__(self) -> None:
        self._folder = private_folder.make()
        self.name = str(self._folder)
        self._living: dict[str, tuple[int, bytes]] = {}  # by name: the process, and what its file held last
        self._sum = Counts()
        self._names: deque[str] = deque(maxlen=_NAMES)
        self._to_remove: list[str] = []
        self._said, self._written = b"", self._folder.stat()
        self._fails = False
        self.look()
        self._looks = Repeated(self.look, _LOOK_SECONDS, "summing up the metrics")

    def cleanup(self) -> None:
        self._looks.stop()
        private_folder.remove(self._folder)

    def look(self) -> None:
        """Add up the files of processes that have ended, say so in the sum's file, and remove them."""
        for file, pid in tally_files.files_in(self._folder):
            if file.name not in self._names:
                self._living.setdefault(file.name, (pid, b""))
        ended = [name for name, (pid, _) in self._living.items() if not _lives(pid)]  # they write no more
        self._read()
        for name in ended:
            self._add(name)
        if self._write():
            self._remove()

    def _read(self) -> None:
        for name, (pid, former) in self._living.items():
            with contextlib.suppress(OSError):
                content = (self._folder / name).read_bytes()
                if content.endswith(b"}") and (former or _is_tally(content)):
                    self._living[name] = pid, content

    def _add(self, name: str) -> None:
        pid, content = self._living.pop(name)
        try:
            if content:  # else it has counted nothing
                self._sum.add(counts.read(content))
                self._sum.receipts_waiting = 0  # for nothing any more
        except ValueError:
            _log.error("what process %s had counted is lost: its file is damaged", pid)
        self._names.append(name)
        self._to_remove.append(name)

    def _remove(self) -> None:
        for name in self._to_remove:
            file = self._folder / name
            for one in (file, file.with_suffix(".arriving")):
                with contextlib.suppress(OSError):
                    one.unlink()
        self._to_remove = []

    def _write(self) -> bool:
        """Returns whether all that has been added up is in the file."""
        living = [name for name, (_, content) in self._living.items() if content]
        said = json.dumps({"sum": self._sum.content(), "names": list(self._names), "living": living}).encode()
        file = self._folder / tally_files.ENDED
        if said == self._said and private_folder.is_as_written(file, self._written):
            return True
        try:
            private_folder.make_again(self._folder)
            self._written = private_folder.write(file, said)
        except OSError as error:
            if not self._fails:
                _log.error("the metrics cannot be kept (%s)", error.strerror)
            self._fails = True
            return False
        self._said, self._fails = said, False
        return True


def _is_tally(content: bytes) -> bool:
    try:
        counts.read(content)
    except ValueError:
        return False
    return True


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:  # nobody, or somebody else's process under the same number
        return False
    return True
