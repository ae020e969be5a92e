"""The terminal in whose foreground a process was started."""

import contextlib
import os

_STREAMS = range(3)


class Terminal:
    """Of this process, if there is one: in the background, below nohup or a supervisor there is none."""

    def __init__(self) -> None:
        self._was_there = _is_in_a_foreground()

    @property
    def was_closed(self) -> bool:
        return self._was_there and not any(map(os.isatty, _STREAMS))


def _is_in_a_foreground() -> bool:
    for stream in _STREAMS:
        with contextlib.suppress(OSError):  # it is no terminal, or not that of this session
            if os.tcgetpgrp(stream) == os.getpgrp():
                return True
    return False
