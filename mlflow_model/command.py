"""How the command lines begin and end: with what the machine lacks, and quietly where somebody breaks off.

The standard library alone, in what any Python 3 can read, as `mlflow_model.machine`.
"""

import atexit
import os
import select
import sys
from types import TracebackType
from typing import NoReturn

from mlflow_model import machine

INTERRUPTED, UNHEARD = 130, 141  # as a shell tells of SIGINT and SIGPIPE


def begin(*packages: str) -> None:
    """Begin a command that imports these packages. End it with one sentence if it cannot work here.

    From here on, Ctrl-C and a reader who has gone away (`| head`) end it without a traceback.
    """
    sys.excepthook = _end_quietly
    atexit.register(_flush)
    machine.require(*packages)


def _end_quietly(
    kind: "type[BaseException]", error: BaseException, traceback: "TracebackType | None"
) -> None:
    """Python's own `excepthook`, but silent after Ctrl-C and at a closed pipe."""
    if issubclass(kind, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    if issubclass(kind, BrokenPipeError) and _has_lost_its_reader():
        _leave()
    sys.__excepthook__(kind, error, traceback)


def _flush() -> None:
    """Write what is left before Python does, which would complain of a closed pipe."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _leave()


def _has_lost_its_reader() -> bool:
    """Whether standard output or error is the pipe that broke, and not a connection to somebody."""
    outputs = select.poll()
    for number in (1, 2):
        outputs.register(number, 0)
    return any(event & select.POLLERR for _, event in outputs.poll(0))


def _leave() -> NoReturn:
    os._exit(UNHEARD)  # without another attempt to write
