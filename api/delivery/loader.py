"""Brings the models that aliases name into the local cache, and says where they are: a process of its own.

MLflow is slow, large and can hang, so no process that answers requests imports it. This process asks the
registry again and again. It copies each new version, verifies it and has it tried out. After each look it
writes one line of news. A line on its input has the copy made again; it ends when its input ends. The
challenger is looked at in a thread, so that the champion's news do not wait for it.
"""

import argparse
import contextlib
import gc
import math
import os
import random
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from api.delivery import sources
from api.delivery.news import GAVE_UP, News
from mlflow_model import files, processes
from mlflow_model.bundle.trial import Trial
from mlflow_model.errors import LoadingFailed, OutOfReach
from mlflow_model.registry import lean_import

_WITHOUT_MODEL_SECONDS = 2.0
_JITTER = 0.1
# A worker that cannot use a copy asks for another one at once, perhaps repeatedly.
_PAUSE_AFTER_AFRESH, _LONGEST_AFRESH = 1.0, 60.0
# A look or a download that takes longer than SLOW_SECONDS is told as a doubt; one that takes ANSWER_SECONDS
# is given up. Together with a trial that is shorter than the silence for which the finder kills a loader.
SLOW_SECONDS, ANSWER_SECONDS = 15.0, 90.0
# Of address space. Ordinarily it takes 0.7 GiB, and 0.2 GiB of memory; the largest model needs some more.
MEMORY_BYTES = 2 * 2**30

_TOO_SLOW = LoadingFailed(
    "le registre n’a pas fini de répondre à temps ; vérifiez MLFLOW_TRACKING_URI et le réseau"
)


Say = Callable[[News], object]


class Patience:
    """Bounds the time that a look may take.

    `complain` is called when a look takes long, `give_up` when it takes too long, and neither once the look
    is over. A thread that waits for a peer cannot be stopped, so the process must end then; the finder starts
    another.
    """

    def __init__(self, give_up: Callable[[], None], complain: Callable[[], None] | None = None) -> None:
        self._due = [(ANSWER_SECONDS, give_up)]
        if complain is not None:
            self._due.append((SLOW_SECONDS, complain))

    @contextlib.contextmanager
    def bounded(self) -> Iterator[None]:
        lock, is_over = threading.Lock(), threading.Event()

        def unless_over(call: Callable[[], None]) -> None:
            with lock:
                if not is_over.is_set():
                    call()

        timers = [threading.Timer(seconds, unless_over, [call]) for seconds, call in self._due]
        for timer in timers:
            timer.daemon = True
            timer.start()
        try:
            yield
        finally:
            with lock:
                is_over.set()
            for timer in timers:
                timer.cancel()


class Lookout:
    """Looks at a model again and again, at its challenger in a thread of its own, and tells the news.

    `every`: seconds between two looks; 0 looks once. `challenger`: its URI, if it is wanted.
    """

    def __init__(self, uri: str, folder: Path, every: float, challenger: str | None, say: Say) -> None:
        self._uri, self._folder, self._every, self._say = uri, folder, every, say
        self._challenger_uri = challenger
        self._challenger: sources.Challenger | None = None
        self._is_challenger_stuck = threading.Event()
        self._news = News()
        self._wish = Wish()

    def follow(self) -> None:
        """Look until the input ends or nothing more can change."""
        with contextlib.closing(Trial()) as trial:
            patience = Patience(self._give_up, self._complain)
            model = sources.followed(self._uri, self._folder, trial, patience.bounded)
            while True:
                self._look(model)
                if model.is_settled or not self._every:
                    return
                pause = self._every
                if model.news.copy is None:
                    pause = min(pause, _WITHOUT_MODEL_SECONDS)
                pause *= random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret
                heard = _heard_within(min(pause, self._wish.seconds_until_due()))
                if heard == b"":
                    return
                if heard is not None:
                    self._wish.make()

    def _look(self, model: sources.Source) -> None:
        copy = model.news.copy
        model.look(afresh=self._wish.is_due())
        if model.news.copy != copy:
            self._wish.forget()
        self._news = self._challenger.add_to(model.news) if self._challenger else model.news
        if self._is_challenger_stuck.is_set():
            self._say(replace(self._news, challenger_problem=str(_TOO_SLOW)))
            os._exit(GAVE_UP)
        self._say(self._news)
        _collect_from_now_on()
        if model.news.copy is not None and self._every:
            self._look_at_the_challenger()

    def _look_at_the_challenger(self) -> None:
        if self._challenger_uri is None or self._challenger is not None:
            return
        with contextlib.suppress(OutOfReach):  # no process can be started now
            patience = Patience(self._give_up_the_challenger)
            self._challenger = sources.Challenger(self._challenger_uri, self._folder, patience.bounded)
            self._challenger.look_again_and_again(self._every)

    def _complain(self) -> None:
        former = self._news
        self._say(News(former.copy, str(_TOO_SLOW), former.challenger, former.challenger_problem))

    def _give_up(self) -> None:
        self._complain()
        os._exit(GAVE_UP)

    def _give_up_the_challenger(self) -> None:
        """Let the look at the model, which may be under way, end before the process does."""
        self._say(replace(self._news, refusals=0, challenger_problem=str(_TOO_SLOW)))
        self._is_challenger_stuck.set()


class Wish:
    """A wish to have the copy made again. Granted at once, and then after a pause that doubles each time.

    Meanwhile the alias is looked at as before: another version may be what helps.
    """

    def __init__(self) -> None:
        self._is_made = False
        self._pause, self._granted_at = _PAUSE_AFTER_AFRESH, -math.inf

    def make(self) -> None:
        self._is_made = True

    def forget(self) -> None:
        """Drop the wish: another copy has come."""
        self._is_made = False

    def seconds_until_due(self) -> float:
        return max(0.0, self._granted_at + self._pause - time.monotonic()) if self._is_made else math.inf

    def is_due(self) -> bool:
        """Grant the wish if its pause is over. Return whether it was granted."""
        if self.seconds_until_due() > 0.0:
            return False
        now = time.monotonic()
        is_one_of_many = now <= self._granted_at + 2 * self._pause
        self._pause = min(2 * self._pause, _LONGEST_AFRESH) if is_one_of_many else _PAUSE_AFTER_AFRESH
        self._is_made, self._granted_at = False, now
        return True


def _collect_from_now_on() -> None:
    """Switch garbage collection on again, without the objects that importing MLflow made."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _heard_within(seconds: float) -> bytes | None:
    """The bytes that came on the input: empty if it has ended, None if the time has passed."""
    readable, _, _ = select.select([sys.stdin], [], [], seconds)
    return os.read(sys.stdin.fileno(), 4096) if readable else None


def main() -> None:
    processes.end_with_parent()
    parser = argparse.ArgumentParser(prog="python -m api.delivery.loader", description=__doc__)
    parser.add_argument("uri")
    parser.add_argument("cache", type=Path)
    parser.add_argument("--every", type=float, default=0.0, metavar="SECONDS", help="0 looks once (default)")
    parser.add_argument("--challenger", metavar="URI")
    options = parser.parse_args()
    processes.limit(memory=MEMORY_BYTES)
    lean_import.prepare()
    # The cache may be absent or not writable: the first look will say so.
    with contextlib.suppress(OSError):
        files.remove_abandoned(options.cache)
    Lookout(options.uri, options.cache, options.every, options.challenger, _say).follow()


def _say(news: News) -> None:
    sys.stdout.buffer.write(news.line())
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
