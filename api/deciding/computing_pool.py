"""Sends tasks to computing processes (api/deciding/computing_process.py): the worker's side.

In a thread of the worker a task would take the interpreter from /predict. Only small batches stay there.
"""

import contextlib
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any

from api import logs
from api.counting.tally import Tally
from api.deciding import messages
from api.deciding.answer import Answer
from api.deciding.task import Task
from api.delivery.news import Copy
from mlflow_model import processes

LOADING_SECONDS = 30.0
_PAUSE_SECONDS = 60.0
_GONE = (OSError, EOFError, ValueError, KeyError)

_log = logging.getLogger("scoring_client")
_errors = logging.getLogger(logs.ERRORS)


class ProcessEnded(RuntimeError):
    """A computing process ended before it answered."""


class PoolEnded(Exception):
    """The worker ends: no process takes up anything more."""


class ComputingProcess:
    """One process and the socket to it. Raises OSError or RuntimeError if none can be started.

    `module`: what the process runs.
    """

    def __init__(self, module: str = "api.deciding.computing_process") -> None:
        started: Future[subprocess.Popen[bytes]] = Future()
        self._connection, theirs = socket.socketpair()
        try:
            threading.Thread(
                target=_live, args=[module, theirs, started], name="computing process", daemon=True
            ).start()
            self._process = started.result()
        except BaseException:
            self._connection.close()
            raise
        finally:
            theirs.close()

    def takes_up(self, copy: Copy | None) -> bool:
        """Ask the process to load this model, if there is one. Return whether it is ready to compute."""
        try:
            with self._within(LOADING_SECONDS):
                messages.send(self._connection, {"copy": None if copy is None else asdict(copy)})
                head, _ = messages.receive(self._connection)
            return bool(head["is_ready"])
        except _GONE:
            return False

    def answer(self, task: Task) -> tuple[dict[str, Any], bytes]:
        """Have the process compute. Return all of the answer but its content, with a tally, and the content.

        Raises TimeoutError if it takes too long, and one of _GONE if it has ended.
        """
        head = {"task": task.called, "facts": task.facts()}
        with self._within(task.seconds):
            messages.send(self._connection, head, task.body)
            return messages.receive(self._connection)

    def interrupt(self) -> None:
        """Make the thread that waits for the process raise one of _GONE. Called from another thread.

        Only the waiting thread closes the socket: its number could be reused too early otherwise.
        """
        self._process.kill()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def end(self) -> int:
        """End the process, unless it has ended. Return its exit code."""
        self._process.kill()
        self._connection.close()
        return self._process.wait()

    @contextlib.contextmanager
    def _within(self, seconds: float) -> Iterator[None]:
        """Bound a whole exchange by one deadline: a socket's own timeout begins again with each piece.

        With Python's timeout, each 200 KB would also wait for the interpreter.
        """
        is_late = threading.Event()

        def give_up() -> None:
            is_late.set()
            self.interrupt()

        timer = threading.Timer(seconds, give_up)
        timer.start()
        try:
            yield
        except _GONE as error:
            if is_late.is_set():
                raise TimeoutError from error
            raise
        finally:
            timer.cancel()


def _live(module: str, theirs: socket.socket, started: "Future[subprocess.Popen[bytes]]") -> None:
    """Start a process and wait for its end in one thread: it ends with the thread that started it."""
    try:
        process = subprocess.Popen(  # noqa: S603 - this project's own module
            [sys.executable, "-m", module, str(theirs.fileno())],
            env=processes.environment(OMP_NUM_THREADS="1"),
            stdin=subprocess.DEVNULL,
            stderr=logs.descriptor(),  # the worker's own standard error is discarded
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # so that it gives way to the worker's
        )
    except Exception as error:  # noqa: BLE001 - raised again in the thread that waits for the process
        started.set_exception(error)
        return
    started.set_result(process)
    process.wait()


class Pool:
    """As many processes as there are tasks at once: started when needed, kept for the next task."""

    def __init__(self, start: Callable[[], ComputingProcess] = ComputingProcess) -> None:
        self._start = start
        self._lock = threading.Lock()
        self._idle: list[ComputingProcess] = []
        self._busy: set[ComputingProcess] = set()
        self._is_over = False
        self._paused_until = 0.0

    def answer(self, copy: Copy | None, task: Task, tally: Tally) -> Answer | None:
        """Have a process compute. None if the caller must: the task is small, or no process takes it up.

        `copy`: of the model, None for a task that needs no model. The answer names none.
        """
        if task.is_small:
            return None
        try:
            process = self._ready(copy)
        except PoolEnded as error:
            raise task.places.refusal() from error
        return None if process is None else self._answer_of(process, task, tally)

    def _answer_of(self, process: ComputingProcess, task: Task, tally: Tally) -> Answer:
        started, is_usable = time.monotonic(), False
        try:
            head, content = process.answer(task)
            if "tally" in head:
                tally.decided_elsewhere(head["tally"])
            is_usable = True
            own_headers = tuple((name, value) for name, value in head["own_headers"])
            return Answer(head["status"], content, None, head["content_type"], own_headers)
        except TimeoutError as error:
            _errors.error("%s took more than %.0f s; its process was ended", task.called, task.seconds)
            raise task.too_slow(task.seconds) from error
        except _GONE as error:
            if self._is_over:
                raise task.too_slow(time.monotonic() - started) from error
            _errors.error("%s's process ended (%s)", task.called, process.end())
            raise ProcessEnded from error
        finally:
            self._give_back(process, is_usable=is_usable)

    def end(self) -> None:
        """End all processes. Callers that wait are told that it took too long, later callers are refused."""
        with self._lock:
            self._is_over = True
            idle, self._idle = self._idle, []
            for process in self._busy:
                process.interrupt()
        for process in idle:
            process.end()

    def _ready(self, copy: Copy | None) -> ComputingProcess | None:
        """A process that has loaded the model. None if there is none. Raises PoolEnded after `end`."""
        while (process := self._take_idle()) is not None:
            if self._takes_up(process, copy):
                return process
        if time.monotonic() < self._paused_until:
            return None
        try:
            process = self._take(self._start())
            if self._takes_up(process, copy):
                return process
            why = str(process.end())
        except (OSError, RuntimeError) as error:  # no more memory, processes or threads
            why = type(error).__name__
        if self._is_over:
            raise PoolEnded
        self._paused_until = time.monotonic() + _PAUSE_SECONDS
        _log.error("no process takes up tasks (%s); none is started for a minute", why)
        return None

    def _take_idle(self) -> ComputingProcess | None:
        with self._lock:
            if self._is_over:
                raise PoolEnded
            if not self._idle:
                return None
            process = self._idle.pop()
            self._busy.add(process)
        return process

    def _take(self, process: ComputingProcess) -> ComputingProcess:
        with self._lock:
            if not self._is_over:
                self._busy.add(process)
                return process
        process.end()
        raise PoolEnded

    def _takes_up(self, process: ComputingProcess, copy: Copy | None) -> bool:
        """Have the process load the model, or end it. Return whether it is ready."""
        is_usable = False
        try:
            is_usable = process.takes_up(copy)
        finally:
            if not is_usable:
                self._give_back(process, is_usable=False)
        return is_usable

    def _give_back(self, process: ComputingProcess, *, is_usable: bool) -> None:
        with self._lock:
            self._busy.discard(process)
            if is_usable and not self._is_over:
                self._idle.append(process)
                return
        process.end()
