"""Has batches decided on in processes of their own (api/batch_process.py): the worker's side.

In a thread of the worker a batch takes turns of the interpreter from /predict. Small ones may, for a moment.
"""

import logging
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any

from api import batch, batch_process, logs
from api.batch import Answered, Request
from api.served import Model
from api.tally import Tally
from mlflow_model import processes
from mlflow_model.errors import BatchTooSlow

SMALL = 64 * 1024
LOADING_SECONDS = 30.0
SECONDS = 60.0  # for a batch; proxies wait no longer by default
_PAUSE_SECONDS = 60.0
_GONE = (OSError, EOFError, ValueError, KeyError)

_log = logging.getLogger("scoring_client")
_errors = logging.getLogger(logs.ERRORS)


class ProcessEnded(RuntimeError):
    """In the middle of a batch."""


class BatchProcess:
    """One process and the socket to it. Raises OSError or RuntimeError where none can be started."""

    def __init__(self) -> None:
        started: Future[subprocess.Popen[bytes]] = Future()
        self._connection, theirs = socket.socketpair()
        try:
            threading.Thread(target=_live, args=[theirs, started], name="batch process", daemon=True).start()
            self._process = started.result()
        except BaseException:
            self._connection.close()
            raise
        finally:
            theirs.close()

    def takes_up(self, model: Model) -> bool:
        """Whether the process is there, and can decide as this model does."""
        assert model.copy is not None  # noqa: S101 - the pool offers no other
        self._wait_at_most(LOADING_SECONDS)
        try:
            batch_process.send(self._connection, {"copy": asdict(model.copy), "called": model.called})
            head, _ = batch_process.receive(self._connection)
            return bool(head["is_ready"])
        except _GONE:
            return False

    def decided(self, request: Request) -> tuple[dict[str, Any], bytes]:
        """What the process says of a batch: a head with status, content type and tally, and the content.

        Raises BlockingIOError when it takes too long, and any of _GONE when it has ended.
        """
        self._wait_at_most(SECONDS)
        head = {
            "content_type": request.content_type,
            "content_encoding": request.content_encoding,
            "asked_as": request.asked_as,
        }
        batch_process.send(self._connection, head, request.body)
        return batch_process.receive(self._connection)

    def end(self) -> int:
        """End it, if it has not ended by itself. Returns its exit code."""
        self._process.kill()
        self._connection.close()
        return self._process.wait()

    def _wait_at_most(self, seconds: float) -> None:
        """The system's own limit: with one of Python's, each 200 KB would wait for the interpreter."""
        limit = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._connection.setsockopt(socket.SOL_SOCKET, option, limit)


def _live(theirs: socket.socket, started: "Future[subprocess.Popen[bytes]]") -> None:
    """Start a process and wait for its end in one thread: it ends with the thread that started it.

    It stays in the worker's session, as Linux weighs priorities within a session only.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - this project's own module
            [sys.executable, "-m", "api.batch_process", str(theirs.fileno())],
            env=processes.environment(OMP_NUM_THREADS="1"),
            stdin=subprocess.DEVNULL,
            stderr=logs.descriptor(),  # the worker's own leads nowhere
            pass_fds=[theirs.fileno()],
        )
    except Exception as error:  # noqa: BLE001 - raised again in the thread that waits for the process
        started.set_exception(error)
        return
    started.set_result(process)
    process.wait()


class Pool:
    """As many processes as there are batches at once: started when needed, kept for the next batch."""

    def __init__(self, start: Callable[[], BatchProcess] = BatchProcess) -> None:
        self._start = start
        self._idle: list[BatchProcess] = []
        self._paused_until = 0.0

    def answer(self, model: Model, request: Request, tally: Tally) -> Answered | None:
        """None where the batch is for the thread that asks: it is small, or no process takes it up.

        An Arrow batch is never small: pyarrow would stay in the worker, and weighs as much as all the rest.
        """
        is_small = len(request.body) <= SMALL and not batch.is_arrow(request.content_type)
        process = None if is_small or model.copy is None else self._ready(model)
        if process is None:
            return None
        try:
            head, content = process.decided(request)
            answered = head["status"], head["content_type"], content
            tally.decided_elsewhere(head["tally"])
        except BlockingIOError as error:
            process.end()
            _errors.error("a batch took more than %.0f s; its process was ended", SECONDS)
            raise BatchTooSlow(SECONDS) from error
        except _GONE as error:
            _errors.error("a batch's process ended (%s)", process.end())
            raise ProcessEnded from error
        self._idle.append(process)
        return answered

    def end(self) -> None:
        """End the processes that wait. One that decides ends with the worker."""
        while self._idle:
            self._idle.pop().end()

    def _ready(self, model: Model) -> BatchProcess | None:
        while self._idle:
            process = self._idle.pop()
            if process.takes_up(model):
                return process
            process.end()
        if time.monotonic() < self._paused_until:
            return None
        try:
            process = self._start()
            if process.takes_up(model):
                return process
            why = str(process.end())
        except (OSError, RuntimeError) as error:  # no memory, no process or no thread more
            why = type(error).__name__
        self._paused_until = time.monotonic() + _PAUSE_SECONDS
        _log.error("no process takes up batches (%s); for a minute they are decided on in threads", why)
        return None
