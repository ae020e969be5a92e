"""Holds the listening socket, keeps workers alive, and has all of them answer with the same model.

Everything happens in one thread, turn by turn. First the supervisor hears what came from workers, signals and
the finder; then it does what follows from that. Nothing that a worker does may end it.
"""

import logging
import queue
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from api import logs
from api.challenger import keeper
from api.counting.tally_folder import TallyFolder
from api.delivery.finder import Finder
from api.delivery.news import Copy, News
from api.recording import keeper as journal_keeper
from api.recording.checkpointing import Checkpoints
from api.server import lifeline, listening
from api.server.bounds import Bounds
from api.server.clock import Clock
from api.server.generations import NONE, Generation, Generations
from api.server.shared_number import SharedNumber
from api.server.signals import Signals
from api.server.terminal import Terminal
from api.server.worker_process import Handed, Worker
from api.settings import JOURNAL_URL, Settings
from mlflow_model import command, machine
from mlflow_model.errors import CopyUnusable

_TURN_SECONDS, _PAUSE_AFTER_A_BUG = 0.5, 0.5
# Between attempts to start workers that do not start: the first pause, and the longest.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
# Before any worker has ever started: then it is the machine or the code that must be mended.
_MOST_ATTEMPTS = 3
# Several workers that hang are killed one after the other: if the machine is only slow, the others recover.
_BETWEEN_KILLS = 1.0
_PIECE = 64 * 1024

_log = logging.getLogger("scoring_client")


def serve(host: str, port: int, workers: int, bounds: Bounds | None = None) -> None:
    """Serve until SIGTERM or SIGINT, after which it exits with 130; SIGHUP exchanges the workers.

    It ends, too, when the terminal is closed in whose foreground it was started.
    """
    with listening.listener(host, port) as listener:
        supervisor = Supervisor(listener, workers, bounds or Bounds())
        supervisor.run()
    if supervisor.exit_code:
        sys.exit(supervisor.exit_code)


class Supervisor:
    """Keeps `workers` processes at the listener."""

    def __init__(self, listener: socket.socket, workers: int, bounds: Bounds) -> None:
        self._listener, self._wanted, self._bounds = listener, workers, bounds
        self._clock = Clock()
        self._workers: list[Worker] = []
        self._generations: Generations[Worker] = Generations(bounds.loading)
        self._number = SharedNumber.new()
        self._serving: Copy | None = None
        self._news = News()
        self._told: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._is_ending = self._is_announced = False
        self._terminal = Terminal()
        self.exit_code = self._failed_attempts = 0
        self._exchange_until: float | None = None
        self._pause, self._start_at, self._kill_at = _FIRST_PAUSE, 0.0, 0.0
        # The settings come first: they may end the process, and no folder exists yet that would be left
        # behind.
        settings = Settings.from_environment()
        self._finder = Finder.of(settings, self._post, challenger=True)
        checkpointing = settings.checkpointing
        self._tallies = TallyFolder()
        folder = Path(self._tallies.name)
        self._challenger = keeper.Keeper(folder, bounds.loading, bounds.silence)
        self._journal = journal_keeper.Keeper(folder) if settings.records else None
        self._checkpoints = None if checkpointing is None else Checkpoints(checkpointing)
        address = None if self._journal is None else self._journal.address
        self._handed = Handed(listener, self._challenger.sender, self._number.descriptor, folder, address)
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        self._listen_to_signals()
        try:
            recalled = self._finder.recall()
            self._hear_the_finder()
            self._settle()
            if not recalled:
                self._finder.start()
            while not self._is_ending:
                self._turn()
        finally:
            self._finder.stop()
            self._challenger.stop()
            self._end_workers()
            if self._checkpoints is not None:
                self._checkpoints.stop()
            if self._journal is not None:
                self._journal.stop()
            self._tallies.cleanup()

    # ---- Turns

    def _turn(self) -> None:
        events = self._selector.select(_TURN_SECONDS)
        self._clock.account(_TURN_SECONDS)
        for key, _ in events:
            self._safely(key.data)
        self._safely(self._hear_the_finder)
        self._safely(self._end_with_the_terminal)
        self._clock.account(0.0)
        self._safely(self._settle)

    def _safely(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception as error:  # noqa: BLE001 - a bug of ours, which may not end the service
            _log.error("internal error in the supervisor: %s", logs.told(error))
            time.sleep(_PAUSE_AFTER_A_BUG)

    def _settle(self) -> None:
        """Do all that follows from what has been heard. Without changes this does nothing."""
        now = self._clock.now()
        self._bury_the_dead(now)
        self._kill_the_overdue(now)
        self._go_on_with_the_exchange(now)
        self._top_up(now)
        self._follow_orders(now)

    # ---- What is heard

    def _listen_to_signals(self) -> None:
        self._signals = Signals(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
        self._selector.register(self._signals, selectors.EVENT_READ, self._obey)

    def _obey(self) -> None:
        """Obey signals. SIGCHLD only begins a turn."""
        for number in self._signals.take():
            if number == signal.SIGHUP and not self._terminal.was_closed:
                self._exchange_workers()
            elif number in (signal.SIGTERM, signal.SIGINT):
                self._end(f"after {number.name}")
                self.exit_code = command.INTERRUPTED if number == signal.SIGINT else 0

    def _end_with_the_terminal(self) -> None:
        """Where the service was started in one: a make between the two passes no SIGHUP on."""
        if self._terminal.was_closed:
            self._end("with its terminal")

    def _end(self, why: str) -> None:
        if not self._is_ending:
            _log.info("ending %s", why)
        self._is_ending = True

    def _post(self, news: News) -> bool:
        """Take news from any thread. Return True: whether workers can use the copy they say themselves."""
        self._told.put(news)
        self._signals.begin_a_turn()
        return True

    def _hear_the_finder(self) -> None:
        while not self._told.empty():
            self._news = self._told.get()
            self._challenger.hear(self._news.challenger)
            if self._news.copy is not None:
                self._generations.want(self._news.copy)

    def _ear(self, worker: Worker) -> Callable[[], None]:
        return lambda: self._hear(worker)

    def _hear(self, worker: Worker) -> None:
        if worker.is_deaf:  # its end was noticed in this turn
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
            self._announce()
        elif said.kind == "serving":
            self._pause = _FIRST_PAUSE
            self._finder.start()  # not earlier: starting workers need the processor
        elif said.kind == "loaded":
            self._generations.loaded(worker, said.number, now)
        elif said.kind == "unusable":
            self._generations.unusable(worker, said.number, now)
            if worker.stays and said.number == self._generations.in_use.number:
                self._keep_former_workers("a new worker cannot use the model")

    def _announce(self) -> None:
        """Say where the service listens as soon as there is a worker, and not before."""
        if not self._is_announced:
            self._is_announced = True
            listening.announce(self._listener)
            if self._journal is None:
                _log.warning("%s=off: no decision is recorded", JOURNAL_URL)

    # ---- Workers

    def _top_up(self, now: float) -> None:
        """Start as many workers as are missing."""
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
            self._count_the_attempt()

    def _count_the_attempt(self) -> None:
        """End the service if it has never had a worker, and the same fault would only be met again."""
        self._failed_attempts += 1
        if not self._is_announced and self._failed_attempts >= _MOST_ATTEMPTS:
            _log.error("no worker can start (the lines above say why): the service ends")
            self._is_ending = True
            self.exit_code = machine.REFUSED

    def _lose(self, worker: Worker) -> None:
        """Close a lifeline that has ended. The worker must end soon, too."""
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
            # Asked for each worker in turn: losing the one before may have ended an exchange.
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
        """Start new workers, perhaps with new code. The former ones end when all new ones answer."""
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
        if self._journal is not None:
            self._journal.renew()

    def _go_on_with_the_exchange(self, now: float) -> None:
        fresh = [worker for worker in self._workers if worker.stays]
        former = [worker for worker in self._workers if worker.is_former and not worker.is_ending]
        up = sum(map(self._is_up, fresh))
        if self._exchange_until is None:  # no exchange: single workers have been replaced
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
        """Whether it answers, or would: without a model only one worker answers, and the others wait."""
        return worker.is_serving or (worker.is_here and self._generations.in_use == NONE)

    def _keep_former_workers(self, why: str) -> None:
        """End an exchange: keep the former workers, and retire the new ones."""
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
        """End all workers in order. Close the listener first, so that nobody can join its queue meanwhile."""
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
        self._inform()  # before they serve, so that they know why there is no model
        for worker in orders.serve:
            if not worker.serve(now):
                self._kill(worker, "listen", now)
        for worker in orders.replace:
            self._replace(worker, now)
        if orders.bring_afresh:
            self._finder.bring_afresh()

    def _turn_to(self, generation: Generation) -> None:
        self._number.change_to(generation.number)
        if generation.copy is None:
            _log.error("no worker can use the model any more")
        elif generation.copy != self._serving:
            former, copy = self._serving, generation.copy
            is_confirmed = former is not None and former == replace(copy, confirmed=False)
            _log.info("confirmed by the registry: %s" if is_confirmed else "serving %s", copy.called)
        self._serving = generation.copy

    def _replace(self, worker: Worker, now: float) -> None:
        """Have another worker take its place. If it answers, it goes on until the other one does."""
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
        """The finder's news. A copy that workers cannot use is a problem, too, if these tell none."""
        if self._news.problem is None and self._generations.is_refused:
            return replace(self._news, problem=str(CopyUnusable()))
        return self._news
