"""A worker as the supervisor sees it: its process, its lifeline, and what it must do until when."""

import socket
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from api.delivery.news import News
from api.server import lifeline
from api.server.bounds import Bounds
from api.server.generations import Generation
from mlflow_model import processes


@dataclass(frozen=True)
class Handed:
    """What every worker of a service inherits."""

    listener: socket.socket
    to_challenger: socket.socket
    number: int  # the descriptor of the shared number
    tallies: Path
    journal: Path | None  # where its writer listens


class Worker:
    """`is_former`: another is to take its place. `is_retiring`: it has been told to end in order."""

    def __init__(self, handed: Handed, bounds: Bounds, now: float) -> None:
        self._bounds = bounds
        self.is_here = self.is_serving = self.is_former = self.is_retiring = self.is_killed = False
        self._told: News | None = None
        self._await("start", now + bounds.starting)
        self.lines = lifeline.Lines()
        self.lifeline, theirs = socket.socketpair()
        with theirs:
            sockets = (handed.listener, theirs, handed.to_challenger)
            descriptors = (*(one.fileno() for one in sockets), handed.number)
            try:
                self.process = subprocess.Popen(  # noqa: S603 - this project's own module
                    [
                        *(sys.executable, "-m", "api.server.worker"),
                        *map(str, (*descriptors, handed.tallies, handed.journal or "")),
                    ],
                    env=processes.environment(OMP_NUM_THREADS="1"),
                    pass_fds=descriptors,
                    start_new_session=True,  # a Ctrl-C is for the supervisor, who ends the workers in order
                )
            except OSError:
                self.lifeline.close()
                raise
        self.lifeline.setblocking(False)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_ending(self) -> bool:
        return self.is_retiring or self.is_killed

    @property
    def stays(self) -> bool:
        """Whether it counts as one of the wanted workers."""
        return not (self.is_former or self.is_ending)

    @property
    def is_deaf(self) -> bool:
        """Whether its lifeline is closed."""
        return self.lifeline.fileno() < 0

    # ---- What it is told

    def prepare(self, generation: Generation) -> bool:
        assert generation.copy is not None  # noqa: S101 - there is nothing to load otherwise
        return self._tell("prepare", number=generation.number, copy=asdict(generation.copy))

    def serve(self, now: float) -> bool:
        self._await("begin to answer", now + self._bounds.starting)
        return self._tell("serve")

    def inform(self, news: News) -> None:
        """Tell it the news, if they are new. If its lifeline is full, a later turn tells the latest."""
        if news != self._told and not self.is_killed and self._tell("news", **news.facts()):
            self._told = news

    def _tell(self, kind: str, **facts: object) -> bool:
        """Send a line. Return False if there is no room: the worker does not listen.

        A worker that has just ended needs no line.
        """
        line = lifeline.line(kind, **facts)
        try:
            return self.lifeline.send(line) == len(line)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def retire(self, now: float) -> None:
        self.is_retiring = True
        self.end_within(now)
        self.process.terminate()

    def kill(self) -> None:
        self.is_killed = True
        self._await("", float("inf"))
        self.process.kill()

    # ---- What is awaited of it

    def heard(self, kind: str, now: float) -> None:
        """Note that it has said something: a sign of life, once it serves."""
        self.is_here |= kind == "here"
        self.is_serving |= kind == "serving"
        if self.is_ending:
            return
        if self.is_serving:
            self._await("answer any more", now + self._bounds.silence)
        elif kind == "here":
            self._await("", float("inf"))  # api/server/generations.py bounds its loading

    def end_within(self, now: float) -> None:
        if not self.is_killed:
            self._await("end", now + self._bounds.ending)

    def overdue(self, now: float) -> str | None:
        """What it should have done by now; None if nothing is overdue."""
        return self._awaited if self._until <= now else None

    def _await(self, what: str, until: float) -> None:
        self._awaited, self._until = what, until
