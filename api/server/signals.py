"""Signals as bytes in a socket, so that a selector takes them up in a turn."""

import contextlib
import signal
import socket

_PIECE = 64 * 1024
_A_TURN = b"\0"


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
