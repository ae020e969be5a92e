"""How every command line of the project begins and ends: with what the machine lacks, and quietly."""

from __future__ import annotations  # an older Python must get as far as the sentence about it

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from mlflow_model import machine

INTERRUPTED = 130  # as a shell tells of SIGINT
NOBODY_READS = 141  # as a shell tells of SIGPIPE


def begin(*packages: str) -> None:
    """Call this before the heavy imports. End the process if the machine lacks something.

    Until `run`, Ctrl-C ends the process by the signal itself: an interrupted import would show a traceback.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    machine.require(*packages)


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run a command line and end the process with its exit code.

    Without a word if it was interrupted, or if nobody reads what it prints any more.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        try:
            code = main() or 0
        finally:  # also after argparse has ended the process
            if sys.stdout is not None:
                sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the last flush, at exit
        code = NOBODY_READS
    sys.exit(code)
