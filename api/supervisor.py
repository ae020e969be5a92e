"""Holds the listening socket, keeps workers alive at it and tells them of the model."""

import logging
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from api import listening, shadow
from api.finder import Finder
from api.news import News
from api.tally_folder import TallyFolder
from mlflow_model import processes
from mlflow_model.errors import LoadingFailed

_SERVING = b"serving"
# Without this pause a worker that cannot start would be started thousands of times a minute.
_RESPAWN_SECONDS = 1.0
# A worker ends within 12 s by itself.
_END_SECONDS = 15.0

_UNUSABLE = LoadingFailed("la copie locale est inutilisable ; elle est refaite dès que le registre répond")

_log = logging.getLogger("scoring_client")


def serve(host: str, port: int, workers: int) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP exchanges the workers."""
    with listening.listener(host, port) as listener:
        Supervisor(listener, workers).run()


class Worker:
    """A worker process and the lifeline to it."""

    def __init__(self, listener: socket.socket, to_shadow: socket.socket, tallies: Path) -> None:
        self.lifeline, theirs = socket.socketpair()
        self.is_serving = False
        with theirs:
            handed = (listener.fileno(), theirs.fileno(), to_shadow.fileno())
            self.process = subprocess.Popen(  # noqa: S603 - this project's own module
                [sys.executable, "-m", "api.worker", *map(str, handed), str(tallies)],
                env=processes.environment(OMP_NUM_THREADS="1"),
                pass_fds=handed,
                start_new_session=True,  # a Ctrl-C is for the supervisor, who ends the workers in order
            )

    def tell(self, news: News) -> None:
        """A worker that has not listened for an hour is stuck, and its lifeline full."""
        line = news.line()
        try:
            is_heard = self.lifeline.send(line, socket.MSG_DONTWAIT) == len(line)
        except BlockingIOError:
            is_heard = False
        except OSError:
            return  # it has just ended, and the selector will say so
        if not is_heard:
            self.process.kill()

    def end(self) -> None:
        self.process.terminate()


class Supervisor:
    """Keeps `workers` processes at the listener."""

    def __init__(self, listener: socket.socket, workers: int) -> None:
        self._listener = listener
        self._wanted = workers
        self._workers: list[Worker] = []
        self._retiring: list[Worker] = []
        self._due: list[float] = []
        self._is_ending = False
        self._news = News()
        self._news_lock = threading.Lock()
        self._tallies = TallyFolder()
        self._shadow = shadow.Shadow(Path(self._tallies.name))
        self._finder = Finder.from_environment(self._tell_all, challenger=shadow.share() > 0)
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        self._listen_to_signals()
        try:
            recalled = self._finder.recall()
            for _ in range(self._wanted):
                self._spawn()
            listening.announce(self._listener)
            if not recalled:
                self._finder.start()
            while not self._is_ending:
                self._turn()
        finally:
            self._finder.stop()
            self._shadow.stop()
            self._end_workers()
            self._tallies.cleanup()

    # ---- What happens

    def _turn(self) -> None:
        wait = max(0.0, min(self._due) - time.monotonic()) if self._due else None
        for key, _ in self._selector.select(wait):
            key.data()
        while self._due and min(self._due) <= time.monotonic():
            self._due.remove(min(self._due))
            self._spawn()

    def _listen_to_signals(self) -> None:
        """A signal becomes a byte in a socket, so that it waits until the selector asks for it."""
        self._signals, theirs = socket.socketpair()
        self._signals.setblocking(False)
        theirs.setblocking(False)
        signal.set_wakeup_fd(theirs.fileno())
        self._keep = theirs
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        self._selector.register(self._signals, selectors.EVENT_READ, self._obey)

    def _obey(self) -> None:
        for number in self._signals.recv(64):
            if number == signal.SIGHUP:
                self._exchange_workers()
            else:
                self._is_ending = True

    def _hear(self, worker: Worker) -> None:
        try:
            said = worker.lifeline.recv(4096)
        except OSError:
            said = b""
        if not said:
            self._bury(worker)
        for line in said.splitlines():
            if line == _SERVING:
                self._welcome(worker)
            else:
                self._help(worker)

    # ---- Workers

    def _spawn(self) -> None:
        try:
            worker = Worker(self._listener, self._shadow.sender, Path(self._tallies.name))
        except OSError as error:
            _log.error("a worker cannot be started (%s); another try follows", error.strerror)
            self._due.append(time.monotonic() + _RESPAWN_SECONDS)
            return
        with self._news_lock:
            worker.tell(self._news)
            self._workers.append(worker)
        self._selector.register(worker.lifeline, selectors.EVENT_READ, self._ear(worker))

    def _ear(self, worker: Worker) -> Callable[[], None]:
        return lambda: self._hear(worker)

    def _welcome(self, worker: Worker) -> None:
        worker.is_serving = True
        self._finder.start()  # only now, not to take the processor from workers that start
        if self._retiring and all(one.is_serving for one in self._workers):
            _log.info("new workers answer; the former ones end")
            for former in self._retiring:
                former.end()

    def _help(self, worker: Worker) -> None:
        """It cannot use the copy that it was told of."""
        self._finder.start()
        self._finder.bring_afresh()
        if self._retiring and worker in self._workers:
            self._keep_former_workers()
        elif not any(one.is_serving for one in self._workers):
            worker.tell(replace(self._news, copy=None, problem=self._news.problem or str(_UNUSABLE)))

    def _bury(self, worker: Worker) -> None:
        self._selector.unregister(worker.lifeline)
        worker.lifeline.close()
        code = worker.process.wait()
        if worker in self._retiring:
            self._retiring.remove(worker)
            return
        with self._news_lock:
            self._workers.remove(worker)
        if self._retiring and not worker.is_serving:
            self._keep_former_workers()
        else:
            _log.error("worker %s ended (%s); another takes its place", worker.process.pid, code)
            self._due.append(time.monotonic() + (0.0 if worker.is_serving else _RESPAWN_SECONDS))

    def _exchange_workers(self) -> None:
        """New processes, perhaps with new code, come up first. The former ones go when all these answer."""
        if self._retiring:
            return
        _log.info("exchanging the workers")
        with self._news_lock:
            self._retiring, self._workers, self._due = self._workers, [], []
        for _ in range(self._wanted):
            self._spawn()

    def _keep_former_workers(self) -> None:
        _log.error("a new worker could not start: the former workers go on")
        with self._news_lock:
            for fresh in self._workers:
                fresh.end()
            self._retiring, self._workers = self._workers, self._retiring

    def _end_workers(self) -> None:
        """The listener is closed first: the last worker to take from its queue then leaves nobody there."""
        self._listener.close()
        everyone = [*self._workers, *self._retiring]
        for worker in everyone:
            worker.end()
        deadline = time.monotonic() + _END_SECONDS
        for worker in everyone:
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()

    # ---- The model

    def _tell_all(self, news: News) -> bool:
        """Called in the finder's thread, too. A worker that cannot use the copy says so on its lifeline."""
        with self._news_lock:
            self._news = news
            self._shadow.hear(news.challenger)
            for worker in [*self._workers, *self._retiring]:
                worker.tell(self._news)
        return True
