"""Makes signed checkpoints of the journal at regular times: the supervisor's side.

What came after the last checkpoint is vouched for by the journal alone, so each one shortens what a rewrite
could reach. The command that makes one is that of the operator (`python -m journal checkpoint`), in a process
of its own: the key is in no other.
"""

import logging
import shlex
import sys
import threading
from pathlib import Path

from api.repeated import Repeated
from api.settings import Checkpointing
from journal import checkpoint_files
from mlflow_model import processes
from mlflow_model.command import printable

_MARK = ".handed-over"  # in the folder: the name of the last checkpoint that the command has taken
_FIRST_SECONDS, _LONGEST_SECONDS, _ENDING_SECONDS = 10.0, 120.0, 2.0

_log = logging.getLogger("scoring_client")


class Checkpoints:
    """Makes one every so many minutes until it is stopped. A failure is logged when it is another one."""

    def __init__(self, settings: Checkpointing) -> None:
        self._settings = settings
        self._failure = ""
        self._ending = threading.Event()
        self._not_handed_over = self._left_over() if settings.command else []
        every = 60 * settings.minutes
        first = min(every, _FIRST_SECONDS)  # so that a wrong key is told of at the start
        self._looks = Repeated(self.make, every, "making checkpoints", first)

    def stop(self) -> None:
        """A command that is at work is ended; the next start hands its checkpoint over."""
        self._ending.set()
        self._looks.stop(_ENDING_SECONDS)

    def _left_over(self) -> list[Path]:
        """What a service before this one has made, and not handed over. Without its mark nobody knows."""
        try:
            last = (self._settings.folder / _MARK).read_text().strip()
        except OSError:
            return []
        return sorted(one for one in _checkpoints_in(self._settings.folder) if one.name > last)

    def make(self) -> None:
        wanted = self._settings
        if not wanted.folder.is_dir():
            self._say("no checkpoint of the journal is made: the folder for it is gone")
            return
        before = _checkpoints_in(wanted.folder)
        made = [sys.executable, "-m", "journal", "checkpoint", "--key", str(wanted.key), "--out"]
        if failure := self._failure_of([*made, str(wanted.folder)]):
            self._say(f"no checkpoint of the journal is made: {failure}")
            return
        if wanted.command:
            self._not_handed_over += sorted(_checkpoints_in(wanted.folder) - before)
        self._say(self._hand_over())

    def _hand_over(self) -> str:
        """Give the operator's command what it has not taken yet. Return what went wrong."""
        unmarked = ""
        while self._not_handed_over:
            command = [*shlex.split(self._settings.command), str(self._not_handed_over[0])]
            if failure := self._failure_of(command):
                return f"a checkpoint of the journal is made, and not handed over: {failure}"
            unmarked = self._mark(self._not_handed_over.pop(0))
        return unmarked

    def _mark(self, handed_over: Path) -> str:
        """Remember for the next start what was handed over last. Return what went wrong."""
        mark = self._settings.folder / _MARK
        arriving = mark.with_name(f"{_MARK}.part")
        try:
            arriving.write_text(f"{handed_over.name}\n")
            arriving.replace(mark)
        except OSError as error:
            return (
                f"a checkpoint of the journal is handed over, and {_MARK} in its folder cannot be written "
                f"({error.strerror}): the next start does not know of it"
            )
        return ""

    def _failure_of(self, command: list[str]) -> str:
        try:
            done = processes.run(command, _LONGEST_SECONDS, self._ending.is_set)
        except TimeoutError:
            return f"{Path(command[0]).name} took longer than {_LONGEST_SECONDS:g} s"
        except OSError as error:
            return f"{Path(command[0]).name} cannot be run ({error.strerror})"
        if not done.exit_code:
            return ""
        said = done.errors.strip().splitlines()
        return printable(said[-1]) if said else f"exit code {done.exit_code}"

    def _say(self, failure: str) -> None:
        if failure == self._failure or self._ending.is_set():
            return
        self._failure = failure
        if failure:
            _log.error("%s", failure)
        else:
            _log.info("checkpoints of the journal are made again")


def _checkpoints_in(folder: Path) -> set[Path]:
    return {file for file in folder.glob("*") if checkpoint_files.is_name(file.name)}
