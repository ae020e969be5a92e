"""Keeps the journal's writer at work: the supervisor's side. Whatever becomes of it, another takes its place.

The socket at which it listens stays: who connects meanwhile waits for the next one.
"""

import logging
import os
import select
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from api import logs
from api.recording import short_path
from mlflow_model import processes

WRITES = b"w"  # the sign of life of a writer that can write the journal
SILENCE_SECONDS = 5.0
_STARTING_SECONDS = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_ENDING_SECONDS = 10.0
_BACKLOG = 128

_log = logging.getLogger("scoring_client")


_Process = subprocess.Popen[bytes]


class Keeper:
    """Starts the writer, and starts it again. `address`: the socket's, in a folder of our own."""

    def __init__(self, folder: Path) -> None:
        self.address = folder / "journal"
        self._listener = socket.socket(socket.AF_UNIX)
        with short_path.of(self.address) as path:
            self._listener.bind(path)
        self._listener.listen(_BACKLOG)
        self._is_ending, self._is_renewal_due = threading.Event(), threading.Event()
        self._running: list[_Process] = []
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()

    def renew(self) -> None:
        """Have another writer take the place of this one soon, perhaps with new code. It loses nothing."""
        self._is_renewal_due.set()

    def stop(self) -> None:
        """End the writer after what it was told. Nobody may connect any more."""
        self._is_ending.set()
        for process in [*self._running]:
            process.terminate()
        self._thread.join(_ENDING_SECONDS)
        for process in [*self._running]:
            processes.end(process, 0.0)
        self._listener.close()

    def _work(self) -> None:
        """The kernel ends the process if this thread ends, so the thread outlives it."""
        pause = _FIRST_PAUSE
        while not self._is_ending.is_set():
            started = time.monotonic()
            try:
                how: object = self._watched()
            except Exception as error:  # noqa: BLE001 - whatever it is, another attempt follows
                how = logs.told(error)
            if self._is_ending.is_set():
                return
            pause = _FIRST_PAUSE if time.monotonic() - started > _LONGEST_PAUSE else pause
            _log.error("the journal's writer ended (%s); another in %.1f s", how, pause)
            self._is_ending.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _watched(self) -> object:
        """Run a writer, and others in its place whenever that is due. Return how the last one ended."""
        self._is_renewal_due.clear()
        process = self._started()
        said = _heard(process, _STARTING_SECONDS)
        while said:
            if self._is_renewal_due.is_set():
                self._is_renewal_due.clear()
                process = self._renewed(process)
            said = _heard(process, SILENCE_SECONDS)
        return self._ended(process, is_silent=said is None)

    def _renewed(self, former: _Process) -> _Process:
        """Start another writer at the same socket. When it can write, the former one ends.

        Those who were connected to that one connect again, and say again what it has not answered.
        """
        try:
            process = self._started()
        except OSError as error:
            _log.error(
                "a new writer of the journal does not start (%s): the former one goes on", error.strerror
            )
            return former
        until, said = time.monotonic() + _STARTING_SECONDS, _heard(process, _STARTING_SECONDS)
        while said and WRITES not in said and time.monotonic() < until:
            said = _heard(process, SILENCE_SECONDS)
        if not said or WRITES not in said:
            how = self._ended(process, is_silent=said != b"")
            _log.error("a new writer of the journal does not start (%s): the former one goes on", how)
            return former
        former.terminate()
        self._ended(former, is_silent=False)
        _log.info("a new process writes the journal")
        return process

    def _started(self) -> _Process:
        handed = self._listener.fileno()
        process = subprocess.Popen(  # noqa: S603 - this project's own module
            [sys.executable, "-m", "api.recording.writer_process", str(handed)],
            env=processes.environment(OMP_NUM_THREADS="1"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            pass_fds=[handed],
            start_new_session=True,
        )
        self._running.append(process)
        if self._is_ending.is_set():  # by a caller who did not know of this process yet
            process.terminate()
        return process

    def _ended(self, process: _Process, *, is_silent: bool) -> object:
        """Wait for the end of a writer, or end one that says nothing. Return how it ended."""
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        processes.end(process, 0.0 if is_silent else _ENDING_SECONDS)
        process.wait()
        process.stdout.close()
        self._running.remove(process)
        return "it gave no sign of life" if is_silent else process.returncode


def _heard(process: _Process, patience: float) -> bytes | None:
    """Its signs of life; nothing where it has ended, None where it says nothing for so many seconds."""
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    poll = select.poll()
    poll.register(process.stdout.fileno(), select.POLLIN)
    return os.read(process.stdout.fileno(), 4096) if poll.poll(1000 * patience) else None
