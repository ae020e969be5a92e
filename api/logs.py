"""Logs on standard error: one JSON object a line, or text on a terminal. No applicant's value is in any.

Only this project's own loggers are shown. Other code, a bundle's above all, may put an applicant's values
into its messages: these are counted, not shown. Of an exception only the type and the places in the code are
shown.
"""

import io
import json
import logging
import os
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import IO, Any, TextIO

from api.line_writer import LineWriter
from api.settings import Settings
from mlflow_model import processes

# Clients cause the lines of these loggers: each may write so many per second, and a burst from time to time.
ACCESS, ERRORS = "scoring_client.access", "scoring_client.errors"
LINES_A_SECOND, BURST = 100, 1_000

LONGEST_EVENT = 8_192  # characters
MOST_PLACES = 20

_OURS = "scoring_client"
_OF_A_BUNDLE = ("<scoring.py", "<leaf_masks.py")  # they have no file
_OF_OTHERS = "messages of other code, which may hold values, are not shown"
_OF_OTHERS_SECONDS = 3_600.0
_TOO_MANY = {name: f"{name} takes {LINES_A_SECOND} lines a second" for name in (ACCESS, ERRORS)}
_UNWRITABLE = "they could not be formatted"
_TEXT = "%(asctime)s %(levelname)s %(message)s"
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}

_log = logging.getLogger(_OURS)
_errors = logging.getLogger(ERRORS)


def configure(*, beside_bundles: bool = False) -> None:
    """LOG_FORMAT=json or text decides; without it, a terminal gets text.

    `beside_bundles`: a bundle's code runs in this process. Discard what it writes to standard output and
    error, and write the log to a descriptor that it does not know.
    """
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    chosen = Settings.from_environment().log_format or ("text" if is_terminal else "json")
    formatter = _Text(_TEXT) if chosen == "text" else _Json()
    writer = LineWriter(_descriptor(beside_bundles), _notice(formatter), {_OF_OTHERS: _OF_OTHERS_SECONDS})
    ours, others = _Ours(writer), _Others(writer)
    ours.setFormatter(formatter)
    _log.handlers, _log.propagate = [ours], False
    _log.setLevel(logging.INFO)
    logging.basicConfig(level=logging.WARNING, handlers=[others], force=True)
    logging.captureWarnings(capture=True)
    if beside_bundles:
        # "always": by default Python keeps the text of every warning in memory.
        warnings.simplefilter("always", append=True)
        sys.stdout, sys.stderr = _unheard(writer), _unheard(writer)
    else:
        sys.stderr = _spoken(writer)
    _hear_of_uncaught()


def descriptor() -> int | None:
    """The descriptor that the log is written to: the standard error of a child. None before `configure`."""
    return next((one.descriptor for one in _log.handlers if isinstance(one, _Ours)), None)


def told(error: BaseException) -> str:
    """The type of an error and the lines of code it passed, innermost first. Never its message."""
    places: list[str] = []
    traceback = error.__traceback__
    while traceback is not None:
        places.append(f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}")
        traceback = traceback.tb_next
    more = f" < {len(places) - MOST_PLACES} more" if len(places) > MOST_PLACES else ""
    return f"{type(error).__name__} at {' < '.join(places[::-1][:MOST_PLACES])}{more}"


def lines_of(output: IO[bytes] | None) -> Iterator[bytes]:
    """The lines that a child process writes. A line without an end comes in parts, so memory is bounded."""
    assert output is not None  # noqa: S101 - it is a pipe
    return iter(lambda: output.readline(LONGEST_EVENT), b"")


def _descriptor(beside_bundles: bool) -> int:
    if sys.stderr is None:  # it was closed before this process began
        return os.open(os.devnull, os.O_WRONLY)
    if not beside_bundles:
        return os.dup(2)
    os.close(processes.set_aside(1))
    return processes.set_aside(2)


# ---- Who speaks


class _Ours(logging.Handler):
    """Writes this project's lines. Leaves some out where clients cause too many."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer
        self.descriptor = writer.descriptor
        self._buckets = {name: _Bucket() for name in (ACCESS, ERRORS)}

    def emit(self, record: logging.LogRecord) -> None:
        bucket = self._buckets.get(record.name)
        if record.pathname.startswith(_OF_A_BUNDLE):  # under one of our names
            self._writer.leave_out(_OF_OTHERS)
        elif bucket is not None and not bucket.takes_one():
            self._writer.leave_out(_TOO_MANY[record.name])
        else:
            self._write(record)

    def flush(self) -> None:
        """Called by logging when the process ends."""
        self._writer.drain()

    def _write(self, record: logging.LogRecord) -> None:
        try:
            line = _line(self.format(record))
        except Exception:  # noqa: BLE001 - as logging itself has it: no line may end what wrote it
            self._writer.leave_out(_UNWRITABLE)
        else:
            self._writer.put(line)


class _Others(logging.Handler):
    """Counts what other code logs. Shows the type and places of its exceptions, not their messages."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            self._writer.leave_out(_OF_OTHERS)
        else:
            _errors.error("%s: %s", record.name, told(error))


class _Bucket:
    """Lets LINES_A_SECOND pass, and a BURST after a pause."""

    def __init__(self) -> None:
        self._room, self._looked = float(BURST), time.monotonic()

    def takes_one(self) -> bool:
        now = time.monotonic()
        self._room = min(float(BURST), self._room + (now - self._looked) * LINES_A_SECOND)
        self._looked = now
        if self._room < 1:
            return False
        self._room -= 1
        return True


class _Stream(io.RawIOBase):
    """Stands in the place of a standard stream, and passes on each piece as it is written."""

    def __init__(self, take: Callable[[bytes], object]) -> None:
        self._take = take

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._take(bytes(data))
        return len(data)


def _unheard(writer: LineWriter) -> TextIO:
    return _text(lambda data: writer.leave_out(_OF_OTHERS) if data.strip() else None)


def _spoken(writer: LineWriter) -> TextIO:
    return _text(writer.put)


def _text(take: Callable[[bytes], object]) -> TextIO:
    raw: Any = _Stream(take)  # as `python -u` does it, which the types do not know
    return io.TextIOWrapper(raw, "utf-8", "backslashreplace", write_through=True)


def _hear_of_uncaught() -> None:
    """Log uncaught exceptions of all threads as errors, without their messages."""

    def uncaught(
        kind: type[BaseException], error: BaseException | None, _: types.TracebackType | None
    ) -> None:
        if error is not None:
            _errors.critical("not caught: %s", told(error))

    def uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
            _errors.critical("not caught in a thread: %s", told(arguments.exc_value))

    def unraisable(arguments: "sys.UnraisableHookArgs") -> None:
        if arguments.exc_value is not None:
            _errors.error("not raised: %s", told(arguments.exc_value))

    sys.excepthook, threading.excepthook, sys.unraisablehook = uncaught, uncaught_in_thread, unraisable


# ---- How it reads


class _Valueless(logging.Formatter):
    def formatException(self, ei: Any) -> str:
        """Show an error's type and places, not its message."""
        return told(ei[1]) if ei[1] is not None else ""


class _Json(_Valueless):
    def format(self, record: logging.LogRecord) -> str:
        event = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _cut(record.getMessage()),
            "pid": record.process,
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return json.dumps(event, ensure_ascii=False)


class _Text(_Valueless):
    def formatMessage(self, record: logging.LogRecord) -> str:
        """Escape control characters, which could move a terminal's cursor."""
        record.message = _cut(record.message).translate(_CONTROLS)
        return super().formatMessage(record)


def _cut(text: str) -> str:
    """Cut the middle out of a long text: the last lines of a traceback tell most."""
    half = LONGEST_EVENT // 2
    return text if len(text) <= LONGEST_EVENT else f"{text[:half]} … {text[-half:]}"


def _line(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _notice(formatter: logging.Formatter) -> Callable[[str, int], bytes]:
    def line(reason: str, count: int) -> bytes:
        message = f"{count} {'line was' if count == 1 else 'lines were'} left out: {reason}"
        record = logging.LogRecord(_OURS, logging.WARNING, __file__, 0, message, None, None)
        return _line(formatter.format(record))

    return line
