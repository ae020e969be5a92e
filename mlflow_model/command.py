"""How the command lines begin and end: with what the machine lacks, and quietly where somebody breaks off.

And how their sentences name a command of this project, so that it works where they are read.

The standard library alone, in what any Python 3 can read, as `mlflow_model.machine`.
"""

import atexit
import contextlib
import io
import os
import re
import select
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn, TextIO

from mlflow_model import machine

INTERRUPTED, UNHEARD = 130, 141  # as a shell tells of SIGINT and SIGPIPE
ROOT = Path(__file__).resolve().parents[1]

_NAMED = re.compile(r"(?<![\w/])python (register\.py\b|journal/check_proof\.py\b|-m )")

_FRENCH_SPACES = "\u00a0\u202f"
_interruptions = []  # type: list[int]


def begin(*packages: str) -> None:
    """Begin a command that imports these packages next. End it with one sentence if it cannot work here.

    While it imports, Ctrl-C ends it at once: a package may turn `KeyboardInterrupt` into another error.
    """
    _open_standard_streams()
    sys.stderr = _unbreakable(sys.stderr)
    sys.excepthook = _end_quietly
    atexit.register(_flush)
    _let_ctrl_c(_end_at_once)
    machine.require(*packages)


def run(main: "Callable[[], int | None]") -> NoReturn:
    """Exit with what `main` returns, the command having begun. Ctrl-C ends it in order, and quietly."""
    try:
        code = _ended(main)
    except KeyboardInterrupt:  # once more, while it ended
        code = INTERRUPTED
    sys.exit(INTERRUPTED if _interruptions and code else code)


def _ended(main: "Callable[[], int | None]") -> "int | None":
    try:
        _let_ctrl_c(_interrupt)
        return main()
    except BaseException:  # a library may make another error of KeyboardInterrupt
        if not _interruptions:
            raise
        return INTERRUPTED
    finally:
        _let_ctrl_c(_end_at_once)


@contextlib.contextmanager
def terminable() -> "Iterator[None]":
    """Let SIGTERM, and the end of a terminal, interrupt as Ctrl-C does, so that unfinished files are removed.

    Whoever had it ignored, as nohup does, is not interrupted.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _open_standard_streams() -> None:
    """Open closed standard streams on the null device, here and for children.

    Otherwise the next file that is opened would become a standard stream.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _unbreakable(before: "TextIO | None") -> "TextIO":
    """Standard error, through which no work ends: what cannot be written there is lost."""
    encoding = "utf-8" if before is None else before.encoding
    stream = io.BufferedWriter(_Lossy(2, "wb", closefd=False))
    return io.TextIOWrapper(stream, encoding, "backslashreplace", line_buffering=True)


class _Lossy(io.FileIO):
    def write(self, content: "Any") -> int:
        try:
            return super().write(content) or len(content)
        except OSError:  # closed, full, or nobody reads
            return len(content)


def _let_ctrl_c(act: "Callable[[int, FrameType | None], object]") -> None:
    """Change what Ctrl-C does, unless it is ignored, as in the background, or the command has its own way."""
    if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, _interrupt, _end_at_once):
        signal.signal(signal.SIGINT, act)


def _interrupt(number: int, frame: "FrameType | None") -> None:
    _interruptions.append(number)
    signal.default_int_handler(number, frame)


def _end_at_once(number: int, frame: "FrameType | None") -> NoReturn:
    os._exit(INTERRUPTED)


def _end_quietly(
    kind: "type[BaseException]", error: BaseException, traceback: "TracebackType | None"
) -> None:
    """Python's own `excepthook`, but silent at a closed pipe, and with one sentence if the memory ends."""
    if issubclass(kind, BrokenPipeError) and _has_lost_its_reader():
        _leave()
    if machine.lacks_memory(error):
        machine.refuse("the memory is not enough for this command: free some, or raise its limit (ulimit -v)")
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


# ---- A command in a sentence


def named_here(sentence: str) -> str:
    """The sentence with its `python register.py`, `python -m` and the like as they work where it is read."""
    return _NAMED.sub(lambda found: f"{_python()} {_place(found[1])}", sentence)


def printable(text: str) -> str:
    """In one line, without what moves a terminal's cursor or changes its colours."""
    return "".join(
        sign if sign.isprintable() or sign in _FRENCH_SPACES else sign.encode("unicode_escape").decode()
        for sign in text
    )


def _python() -> str:
    """`python` where that is this Python. Under make it is, and in the shell after make it may not be."""
    found = None if "MAKELEVEL" in os.environ else shutil.which("python")
    if found is not None and Path(found).parent.samefile(Path(sys.executable).parent):
        return "python"
    return _seen_from_here(sys.executable)


def _place(named: str) -> str:
    return named if named.startswith("-") else _seen_from_here(str(ROOT / named))


def _seen_from_here(path: str) -> str:
    """The path as one types it: from the current folder if it lies below, else whole."""
    relative = os.path.relpath(path)
    return shlex.quote(path if relative.startswith("..") else relative)
