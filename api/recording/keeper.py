"""Keeps the journal's writer at work: the supervisor's side. Whatever becomes of it, another takes its place.

The socket at which it listens stays: who connects meanwhile waits for the next one.
"""

import contextlib
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

SILENCE_SECONDS = 5.0
_STARTING_SECONDS = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_ENDING_SECONDS = 10.0
_BACKLOG = 128

_log = logging.getLogger("scoring_client")


class Keeper:
    """Starts the writer, and starts it again. `address`: the socket's, in a folder of our own."""

    def __init__(self, folder: Path) -> None:
        self.address = folder / "journal"
        self._listener = socket.socket(socket.AF_UNIX)
        with short_path.of(self.address) as path:
            self._listener.bind(path)
        self._listener.listen(_BACKLOG)
        self._is_ending = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the writer after what it was told. Nobody may connect any more."""
        self._is_ending.set()
        if self._process is not None:
            self._process.terminate()
        self._thread.join(_ENDING_SECONDS)
        if self._process is not None:
            processes.end(self._process, 0.0)
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
        """Run the writer. Return how it ended."""
        handed = self._listener.fileno()
        self._process = subprocess.Popen(  # noqa: S603 - this project's own module
            [sys.executable, "-m", "api.recording.writer_process", str(handed)],
            env=processes.environment(OMP_NUM_THREADS="1"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            pass_fds=[handed],
            start_new_session=True,
        )
        if self._is_ending.is_set():  # by a caller who did not know of this process yet
            self._process.terminate()
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        is_silent = _is_silent(self._process.stdout.fileno())
        if is_silent:
            self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_ENDING_SECONDS)
        self._process.stdout.close()
        return "it gave no sign of life" if is_silent else self._process.returncode


def _is_silent(output: int) -> bool:
    """Listen until the output ends, or no sign of life comes. Return whether that was so."""
    poll = select.poll()
    poll.register(output, select.POLLIN)
    patience = _STARTING_SECONDS
    while poll.poll(1000 * patience):
        if not os.read(output, 4096):
            return False
        patience = SILENCE_SECONDS
    return True
