"""Keeps the challenger's process at work as long as there is a challenger: the supervisor's side.

Whatever becomes of that process (api/challenger/process.py), the answers do not notice.
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
from api.delivery.news import Copy, News
from mlflow_model import processes

_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 300.0

_log = logging.getLogger("scoring_client")


class Keeper:
    """Starts the challenger's process, and starts it again. Workers write to `sender`, an end of a socket."""

    def __init__(self, tallies: Path, loading: float, silence: float) -> None:
        self._loading, self._silence = loading, silence
        self._receiver, self.sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._tallies = tallies
        self._challenger: Copy | None = None
        self._changed = threading.Event()
        self._stopping = False
        self._process: subprocess.Popen[bytes] | None = None
        threading.Thread(target=self._work, name="challenger", daemon=True).start()

    def hear(self, challenger: Copy | None) -> None:
        if challenger != self._challenger:
            self._challenger = challenger
            self._wake()

    def stop(self) -> None:
        self._stopping = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        if self._process is not None:
            self._process.kill()

    def _work(self) -> None:
        while not self._stopping:
            pause = _FIRST_PAUSE
            self._changed.wait()
            self._changed.clear()
            while (challenger := self._challenger) and not self._stopping and not self._changed.is_set():
                how, lived = self._run(challenger)
                if self._changed.is_set():
                    break
                if lived > pause:
                    pause = _FIRST_PAUSE
                _log.error("the challenger's process ended (%s); another in %.0f s", how, pause)
                self._changed.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _run(self, challenger: Copy) -> tuple[object, float]:
        """Run the process. Return how it ended, and for how many seconds it gave signs of life.

        The kernel ends the process if this thread ends, so the thread must outlive it.
        """
        _log.info("comparing with %s version %s", challenger.name, challenger.version)
        try:
            return self._watched(challenger)
        except Exception as error:  # noqa: BLE001 - whatever it is, champion and challenger go on
            return logs.told(error), 0.0

    def _watched(self, challenger: Copy) -> tuple[object, float]:
        handed = self._receiver.fileno()
        self._process = subprocess.Popen(  # noqa: S603 - this project's own module
            [sys.executable, "-m", "api.challenger.process", str(handed), str(self._tallies)],
            env=processes.environment(OMP_NUM_THREADS="1"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[handed],
            start_new_session=True,
        )
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        if self._changed.is_set():  # by a caller who did not know of this process yet
            self._process.kill()
        with self._process:
            with contextlib.suppress(OSError):
                self._process.stdin.write(News(challenger).line())
                self._process.stdin.flush()
            is_silent, lived = _listen(self._process.stdout.fileno(), self._loading, self._silence)
            if is_silent:
                self._process.kill()
            processes.end(self._process)
        return "it gave no sign of life" if is_silent else self._process.returncode, lived


def _listen(output: int, loading: float, silence: float) -> tuple[bool, float]:
    """Listen until the output ends or is silent: for `loading` seconds at first, for `silence` later.

    Return whether it was silent, and the seconds from the first sign of life to the last.
    """
    poll = select.poll()
    poll.register(output, select.POLLIN)
    first = last = 0.0
    patience = loading
    while poll.poll(1000 * patience):
        if not os.read(output, 4096):
            return False, last - first
        last = time.monotonic()
        first = first or last
        patience = silence
    return True, last - first
