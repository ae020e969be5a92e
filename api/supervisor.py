"""Holds the listening socket, keeps workers alive at it and has all of them answer with the same model.

Everything happens in one thread, turn by turn: first it hears what came on the lifelines, from signals and
from the finder; then it settles what follows from that. Nothing that a worker does may end it.
"""

import contextlib
import logging
import queue
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from api import lifeline, listening, logs, shadow
from api.bounds import Bounds
from api.clock import Clock
from api.finder import Finder
from api.generations import NONE, Generation, Generations
from api.news import Copy, News
from api.page import Page
from api.tally_folder import TallyFolder
from api.worker_process import Handed, Worker
from mlflow_model.errors import CopyUnusable

_TURN_SECONDS = 0.5
# Workers that cannot start would be started thousands of times a minute: this pause grows to that one.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
# Of several that hang one is killed after the other: if it is the machine that is slow, the rest recover.
_BETWEEN_KILLS = 1.0
_PAUSE_AFTER_A_BUG = 0.5
_PIECE = 64 * 1024

_log = logging.getLogger("scoring_client")


def serve(host: str, port: int, workers: int, bounds: Bounds | None = None) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP exchanges the workers."""
    with listening.listener(host, port) as listener:
        Supervisor(listener, workers, bounds or Bounds()).run()


class Supervisor:
    """Keeps `workers` processes at the listener."""

    def __init__(self, listener: socket.socket, workers: int, bounds: Bounds) -> None:
        self._listener, self._wanted, self._bounds = listener, workers, bounds
        self._clock = Clock()
        self._workers: list[Worker] = []
        self._generations: Generations[Worker] = Generations(bounds.loading)
        self._page = Page.new()
        self._serving: Copy | None = None
        self._news = News()
        self._told: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._is_ending = False
        self._exchange_until: float | None = None
        self._pause, self._start_at, self._kill_at = _FIRST_PAUSE, 0.0, 0.0
        # First what may refuse the environment and end the process: no folder exists yet that would stay.
        self._finder = Finder.from_environment(self._post, challenger=shadow.share() > 0)
        self._tallies = TallyFolder()
        folder = Path(self._tallies.name)
        self._shadow = shadow.Shadow(folder, bounds)
        self._handed = Handed(listener, self._shadow.sender, self._page.descriptor, folder)
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        self._listen_to_signals()
        try:
            recalled = self._finder.recall()
            self._hear_the_finder()
            self._settle()
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

    # ---- Turns

    def _turn(self) -> None:
        events = self._selector.select(_TURN_SECONDS)
        self._clock.account(_TURN_SECONDS)
        for key, _ in events:
            self._safely(key.data)
        self._safely(self._hear_the_finder)
        self._clock.account(0.0)
        self._safely(self._settle)

    def _safely(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception as error:  # noqa: BLE001 - a bug of ours, which may not end the service
            _log.error("internal error in the supervisor: %s", logs.told(error))
            time.sleep(_PAUSE_AFTER_A_BUG)

    def _settle(self) -> None:
        """All that follows from what has been heard; nothing where nothing has changed."""
        now = self._clock.now()
        self._bury_the_dead(now)
        self._kill_the_overdue(now)
        self._go_on_with_the_exchange(now)
        self._top_up(now)
        self._follow_orders(now)

    # ---- What is heard

    def _listen_to_signals(self) -> None:
        """A signal becomes a byte in a socket, so that it waits until the selector asks for it."""
        self._signals, self._wake = socket.socketpair()
        self._signals.setblocking(False)
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self._selector.register(self._signals, selectors.EVENT_READ, self._obey)

    def _obey(self) -> None:
        """SIGCHLD, and the finder's news, only begin a turn."""
        for number in self._signals.recv(_PIECE):
            if number == signal.SIGHUP:
                self._exchange_workers()
            elif number in (signal.SIGTERM, signal.SIGINT):
                self._is_ending = True

    def _post(self, news: News) -> bool:
        """Called in the finder's thread, too. A worker that cannot use the copy says so on its lifeline."""
        self._told.put(news)
        with contextlib.suppress(BlockingIOError):  # a turn is due already
            self._wake.send(b"\0")
        return True

    def _hear_the_finder(self) -> None:
        while not self._told.empty():
            self._news = self._told.get()
            self._shadow.hear(self._news.challenger)
            if self._news.copy is not None:
                self._generations.want(self._news.copy)

    def _ear(self, worker: Worker) -> Callable[[], None]:
        return lambda: self._hear(worker)

    def _hear(self, worker: Worker) -> None:
        if worker.is_deaf:  # its end was noticed in this very turn
            return
        try:
            piece = worker.lifeline.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self._lose(worker)
        for said in worker.lines.of(piece):
            self._take_up(worker, said)

    def _take_up(self, worker: Worker, said: lifeline.Said) -> None:
        now = self._clock.now()
        worker.heard(said.kind, now)
        if said.kind == "here":
            self._generations.here(worker, now)
        elif said.kind == "serving":
            self._pause = _FIRST_PAUSE
            self._finder.start()  # only now, not to take the processor from workers that start
        elif said.kind == "loaded":
            self._generations.loaded(worker, said.number, now)
        elif said.kind == "unusable":
            self._generations.unusable(worker, said.number, now)
            if worker.stays and said.number == self._generations.in_use.number:
                self._keep_former_workers("a new worker cannot use the model")

    # ---- Workers

    def _top_up(self, now: float) -> None:
        """As many as are wanted, whatever has become of the others."""
        missing = self._wanted - sum(worker.stays for worker in self._workers)
        if missing <= 0 or now < self._start_at:
            return
        try:
            for _ in range(missing):
                self._start(now)
        except OSError as error:
            _log.error("a worker cannot be started (%s); another try follows", error.strerror)
            self._pause_before_the_next_start(now)

    def _start(self, now: float) -> None:
        worker = Worker(self._handed, self._bounds, now)
        self._workers.append(worker)
        self._generations.join(worker)
        self._selector.register(worker.lifeline, selectors.EVENT_READ, self._ear(worker))

    def _pause_before_the_next_start(self, now: float) -> None:
        if now >= self._start_at:
            self._start_at = now + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _lose(self, worker: Worker) -> None:
        """Its lifeline has ended, and so will it."""
        self._selector.unregister(worker.lifeline)
        worker.lifeline.close()
        worker.end_within(self._clock.now())

    def _bury_the_dead(self, now: float) -> None:
        for worker in [one for one in self._workers if one.process.poll() is not None]:
            self._workers.remove(worker)
            self._generations.leave(worker)
            if not worker.is_deaf:
                self._lose(worker)
            if not (worker.is_retiring or worker.is_killed):
                _log.error(
                    "worker %s ended (%s); another takes its place", worker.pid, worker.process.returncode
                )
                self._do_without(worker, now)

    def _kill_the_overdue(self, now: float) -> None:
        for worker in self._workers:
            # Asked for each in turn: with one that is lost an exchange may have been given up.
            missed = worker.overdue(now)
            if missed is None:
                continue
            if worker.is_serving and not worker.is_retiring:
                if now < self._kill_at:
                    continue
                self._kill_at = now + _BETWEEN_KILLS
            self._kill(worker, missed, now)

    def _kill(self, worker: Worker, missed: str, now: float) -> None:
        if worker.is_killed:
            return
        _log.error("worker %s does not %s: it is killed", worker.pid, missed)
        is_missed = not worker.is_retiring
        worker.kill()
        self._generations.leave(worker)
        if is_missed:
            self._do_without(worker, now)

    def _do_without(self, lost: Worker, now: float) -> None:
        if not lost.is_serving:
            self._pause_before_the_next_start(now)
        if not lost.is_former:
            self._keep_former_workers("a new worker could not start")

    def _retire(self, worker: Worker, now: float) -> None:
        worker.retire(now)
        self._generations.leaving(worker)

    # ---- Others in their place

    def _exchange_workers(self) -> None:
        """New processes, perhaps with new code, come up first. The former ones go when all these answer."""
        self._bury_the_dead(self._clock.now())
        are_leaving = any(worker.is_former and worker.is_retiring for worker in self._workers)
        if self._exchange_until is not None or are_leaving:
            _log.warning("SIGHUP is refused: the workers are being exchanged already")
            return
        _log.info("exchanging the workers")
        self._pause, self._start_at = _FIRST_PAUSE, 0.0
        self._exchange_until = self._clock.now() + self._bounds.exchange
        for worker in self._workers:
            worker.is_former = True

    def _go_on_with_the_exchange(self, now: float) -> None:
        fresh = [worker for worker in self._workers if worker.stays]
        former = [worker for worker in self._workers if worker.is_former and not worker.is_ending]
        up = sum(map(self._is_up, fresh))
        if self._exchange_until is None:  # some have been replaced one by one
            for worker in former[: max(0, up + len(former) - self._wanted)]:
                self._retire(worker, now)
        elif up >= self._wanted:
            _log.info("new workers answer; the former ones end")
            self._exchange_until = None
            for worker in former:
                self._retire(worker, now)
        elif now >= self._exchange_until:
            self._keep_former_workers("the new workers do not all answer in time")

    def _is_up(self, worker: Worker) -> bool:
        """Without a model one answers, and the others wait for it."""
        return worker.is_serving or (worker.is_here and self._generations.in_use == NONE)

    def _keep_former_workers(self, why: str) -> None:
        """If they are being exchanged."""
        if self._exchange_until is None:
            return
        _log.error("%s: the former workers go on", why)
        self._exchange_until = None
        now = self._clock.now()
        for worker in self._workers:
            if worker.stays:
                self._retire(worker, now)
            elif not worker.is_ending:
                worker.is_former = False

    def _end_workers(self) -> None:
        """The listener is closed first: the last worker to take from its queue then leaves nobody there."""
        self._listener.close()
        for worker in self._workers:
            worker.process.terminate()
        deadline = time.monotonic() + self._bounds.ending
        for worker in self._workers:
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()

    # ---- The model

    def _follow_orders(self, now: float) -> None:
        orders = self._generations.settle(now)
        for worker, generation in orders.prepare:
            if not worker.prepare(generation):
                self._kill(worker, "listen", now)
        if orders.turned_to is not None:
            self._turn_to(orders.turned_to)
        self._inform()  # before one serves, so that it knows why there is no model
        for worker in orders.serve:
            if not worker.serve(now):
                self._kill(worker, "listen", now)
        for worker in orders.replace:
            self._replace(worker, now)
        if orders.bring_afresh:
            self._finder.bring_afresh()

    def _turn_to(self, generation: Generation) -> None:
        self._page.turn_to(generation.number)
        if generation.copy is None:
            _log.error("no worker can use the model any more")
        elif generation.copy != self._serving:
            _log.info("serving %s", generation.copy.called)
        self._serving = generation.copy

    def _replace(self, worker: Worker, now: float) -> None:
        """It cannot use what others can, or hangs while it loads. One that answers goes on for now."""
        if not worker.is_serving:
            self._kill(worker, "load the model", now)
        elif worker.stays:
            _log.error("worker %s does not load the model: another takes its place", worker.pid)
            worker.is_former = True

    def _inform(self) -> None:
        known = self._known()
        for worker in self._workers:
            worker.inform(known)

    def _known(self) -> News:
        """The finder's news, and that the copy cannot be used, where nothing else is wrong."""
        if self._news.problem is None and self._generations.is_refused:
            return replace(self._news, problem=str(CopyUnusable()))
        return self._news
