"""Signals as bytes in a socket, so that a selector takes them up in a turn."""

import contextlib
import os
import signal
import socket

_PIECE = 64 * 1024
_A_TURN = b"\0"


def has_terminal() -> bool:
    """Whether this process still reads from a terminal, or writes to one. One that was closed is none."""
    return any(map(os.isatty, range(3)))


def is_in_the_foreground() -> bool:
    """Whether somebody has started this process in a terminal, and waits for its end there."""
    for stream in range(3):
        with contextlib.suppress(OSError):
            if os.tcgetpgrp(stream) == os.getpgrp():
                return True
    return False


class Signals:
    """Those of these numbers that come to this process from now on. To be made in its main thread."""

    def __init__(self, *numbers: signal.Signals) -> None:
        self._came, self._wake = socket.socketpair()
        self._came.setblocking(False)
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, lambda *_: None)

    def fileno(self) -> int:
        return self._came.fileno()

    def begin_a_turn(self) -> None:
        """Have the selector return, from any thread."""
        with contextlib.suppress(BlockingIOError):  # a turn is due already
            self._wake.send(_A_TURN)

    def take(self) -> list[signal.Signals]:
        """Those that came since the last call."""
        return [signal.Signals(number) for number in self._came.recv(_PIECE) if number != _A_TURN[0]]
