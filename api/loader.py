"""Brings the models that aliases name into the local cache, in a process of its own, and says where they are.

MLflow is slow, large and can hang: that may not happen to a process that answers requests. This one asks the
registry again and again, copies, verifies and has each new version tried out; each look is one line of news
on its output. A line on its input has the copy made again; it ends when that input does. The challenger is
looked at in a thread: whatever becomes of it, the champion's news do not wait.
"""

import argparse
import contextlib
import gc
import logging
import math
import os
import random
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from api import cache, model_uri, signed_numbers
from api.news import GAVE_UP, Copy, News
from mlflow_model import files, legacy, processes, signing
from mlflow_model.errors import (
    LoadingFailed,
    ModelUnavailable,
    NotInRegistry,
    NotRegistered,
    NotUnderstood,
    OutOfReach,
)
from mlflow_model.signing import Statement
from mlflow_model.trial import Trial

if TYPE_CHECKING:
    from mlflow_model.registry import Reference

# MLflow imports these if it finds them, a sixth of the time until the first line. Reading a registry needs
# neither: mlflow-skinny comes without them.
_NOT_NEEDED = ("pandas", "scipy")

_WITHOUT_MODEL_SECONDS = 2.0
_JITTER = 0.1
# A worker that cannot use a copy asks for another at once, perhaps again and again.
_PAUSE_AFTER_AFRESH, _LONGEST_AFRESH = 1.0, 60.0
# A version that was refused is tried again after so long, and after twice as long each time; one that was out
# of reach at first sooner.
FIRST_PAUSE, LONGEST_PAUSE = 15.0, 900.0
_FIRST_OUT_OF_REACH = 1.0
# A look may take so long, a download too. With a trial it stays below what the supervisor calls silence.
# Long before that the service says that it waits.
SLOW_SECONDS, ANSWER_SECONDS = 15.0, 90.0
# Ordinarily it has 0.7 GiB of addresses and 0.2 GiB of memory; a model of the largest size needs some more.
MEMORY_BYTES = 2 * 2**30

_TOO_SLOW = LoadingFailed(
    "le registre n’a pas fini de répondre à temps ; vérifiez MLFLOW_TRACKING_URI et le réseau"
)

Say = Callable[[News], object]
Bounded = Callable[[], contextlib.AbstractContextManager[object]]


class PickleFile:
    """The documented pickle, standing alone: once read, it is not looked at again."""

    def __init__(self, path: Path, folder: Path, trial: Trial) -> None:
        self._path, self._folder, self._trial = path, folder, trial
        self.news = News()

    @property
    def is_settled(self) -> bool:
        return self.news.copy is not None

    def look(self, *, afresh: bool) -> None:
        try:
            signing.check("", self._path.name, None)
            bundle, _ = legacy.convert(self._path)
            name = "".join(one if one.isprintable() else "?" for one in self._path.name)
            copy = Copy(str(cache.keep(bundle, self._folder)), name, None, None)
            self._trial.verified(Path(copy.folder), copy.digest)
            self.news = News(copy)
        except ModelUnavailable as problem:
            self.news = News(problem=str(problem))


class RegisteredModel:
    """The last good version that a model URI named, and why that is not what it names now, if so."""

    def __init__(
        self,
        uri: str,
        folder: Path,
        trial: Trial,
        bounded: Bounded = contextlib.nullcontext,
        *,
        is_challenger: bool = False,
    ) -> None:
        from mlflow_model import registry  # takes seconds, and a pickle needs none of it

        self._registry = registry
        self._is_challenger = is_challenger
        self._uri, self._folder, self._trial, self._bounded = uri, folder, trial, bounded
        self._failed: _Failed | None = None
        self.is_absent = False
        self.news = News()

    @property
    def is_settled(self) -> bool:
        return self.news.copy is not None and not model_uri.can_move(self._uri)

    def look(self, *, afresh: bool) -> None:
        """`afresh`: bring what is named once more, even if it is the same as before or was refused."""
        copy = self.news.copy
        try:
            with self._bounded():
                named = self._registry.resolve(self._uri)
        except ModelUnavailable as problem:
            self.is_absent = isinstance(problem, NotInRegistry)
            is_answer = isinstance(problem, (NotInRegistry, NotRegistered))
            self.news = News(copy, str(problem), looked_at=self._now() if is_answer else None)
            return
        except Exception as error:  # noqa: BLE001 - somebody else's server, which may answer anything
            self.is_absent = False
            self.news = News(copy, str(NotUnderstood(type(error).__name__)))
            return
        self.is_absent = False
        try:
            statement = self._stated(named)
        except LoadingFailed as problem:
            self._fail(
                named, problem, again_at=0.0
            )  # another key, or the clock, may allow it at the next look
            return
        if afresh:
            self._bring(named, statement)
        elif copy is not None and _is_of(copy, named):
            self._failed = None
            self.news = News(copy, looked_at=self._now())
        elif self._failed and named == self._failed.named and time.monotonic() < self._failed.again_at:
            self.news = News(copy, self._failed.problem, looked_at=self._now())
        else:
            self._bring(named, statement)

    def _stated(self, named: "Reference") -> Statement | None:
        """What its signature states, where one is asked for: before anything is fetched.

        Only what is served must have a higher number than what was served before: a challenger is not.
        Raises LoadingFailed.
        """
        if self._is_challenger:
            return signing.check(named.digest or "", named.name, named.statement)
        return signed_numbers.check(self._folder, named.digest or "", named.name, named.statement)

    def _now(self) -> float | None:
        """For `looked_at`."""
        return time.monotonic() if model_uri.can_move(self._uri) else None

    def _bring(self, named: "Reference", statement: Statement | None) -> None:
        try:
            copy = self._brought(named, statement)
        except ModelUnavailable as problem:
            self._fail(named, problem)
        except Exception as error:  # noqa: BLE001 - somebody else's files, which may be anything
            self._fail(named, LoadingFailed(f"elle ne peut pas être lue ({type(error).__name__})"))
        else:
            self._failed = None
            self.news = News(copy, looked_at=self._now())

    def _brought(self, named: "Reference", statement: Statement | None) -> Copy:
        """Its copy, verified and tried out. Raises ModelUnavailable."""
        with cache.workplace(self._folder) as place, self._bounded():
            bundle = self._registry.download(named, place)
        folder = str(cache.keep(bundle, self._folder))
        copy = Copy(folder, named.name, named.version, named.alias, statement=named.statement)
        self._trial.verified(Path(folder), copy.digest)
        if statement is not None and not self._is_challenger:
            signed_numbers.remember(self._folder, statement)
        cache.remember(self._uri, self._folder, copy)
        return copy

    def _fail(self, named: "Reference", problem: ModelUnavailable, again_at: float | None = None) -> None:
        """Say so, and leave this version alone for longer each time. What is out of reach is no refusal."""
        former = self._failed if self._failed and self._failed.named == named else None
        is_refused = not isinstance(problem, OutOfReach)
        refusals = int(is_refused and not (former and former.is_refused))
        first = FIRST_PAUSE if is_refused else _FIRST_OUT_OF_REACH
        pause = first if former is None else max(first, min(2 * former.pause, LONGEST_PAUSE))
        said = _about(named, problem) if is_refused else str(problem)
        is_refused = is_refused or (former is not None and former.is_refused)
        then = time.monotonic() + pause if again_at is None else again_at
        self._failed = _Failed(named, said, is_refused, pause, then)
        self.news = News(self.news.copy, said, refusals=refusals, looked_at=self._now())


@dataclass(frozen=True)
class _Failed:
    """What could not be brought, why, and when that is tried again."""

    named: "Reference"
    problem: str
    is_refused: bool
    pause: float
    again_at: float


def _is_of(copy: Copy, named: "Reference") -> bool:
    """A version that was signed anew is brought again: its former signature may expire."""
    return (copy.version, copy.digest, copy.statement) == (named.version, named.digest, named.statement)


def _about(named: "Reference", problem: ModelUnavailable) -> str:
    if named.version is None or not isinstance(problem, LoadingFailed):
        return str(problem)
    return str(LoadingFailed(f"version {named.version} de {named.name} refusée : {problem.detail}"))


class Rival:
    """The challenger, looked at in a thread of its own. Without a version of that name there is none."""

    def __init__(self, uri: str, folder: Path, bounded: Bounded) -> None:
        self._model = RegisteredModel(uri, folder, Trial(), bounded, is_challenger=True)
        self._news = News()  # of the last look that has ended
        self._refusals = self._told = 0
        self._thread: threading.Thread | None = None

    def add_to(self, news: News) -> News:
        """The champion's news with the challenger's."""
        its, refusals = self._news, self._refusals
        news = replace(news, refusals=news.refusals + refusals - self._told)
        self._told = refusals
        return replace(news, challenger=its.copy, challenger_problem=its.problem)

    def look_again_and_again(self, every: float) -> None:
        """Begin, if it has not begun."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, args=[every], name="rival", daemon=True)
            self._thread.start()

    def _look(self, every: float) -> None:
        while True:
            self._model.look(afresh=False)
            self._news = News() if self._model.is_absent else self._model.news
            self._refusals += self._model.news.refusals
            time.sleep(every)


def _followed(
    uri: str, folder: Path, trial: Trial, bounded: Bounded = contextlib.nullcontext
) -> PickleFile | RegisteredModel:
    if model_uri.is_pickle(uri):
        return PickleFile(Path(uri), folder, trial)
    return RegisteredModel(uri, folder, trial, bounded)


class Patience:
    """Bounds the time that a look may take: no thread can be made to give up on a peer.

    `complain` is called when a look takes long, and `give_up` when it takes too long: this process must end
    then, and its supervisor starts another.
    """

    def __init__(self, give_up: Callable[[], None], complain: Callable[[], None] | None = None) -> None:
        self._due = [(ANSWER_SECONDS, give_up)]
        if complain is not None:
            self._due.append((SLOW_SECONDS, complain))

    @contextlib.contextmanager
    def bounded(self) -> Iterator[None]:
        timers = [threading.Timer(seconds, call) for seconds, call in self._due]
        for timer in timers:
            timer.daemon = True
            timer.start()
        try:
            yield
        finally:
            for timer in timers:
                timer.cancel()


def look_once(uri: str, folder: Path) -> News:
    """What one look at a model URI brings."""
    with contextlib.closing(Trial()) as trial:
        model = _followed(uri, folder, trial)
        model.look(afresh=False)
        return model.news


def follow(uri: str, folder: Path, every: float, challenger: str | None, say: Say) -> None:
    """Look again and again, `every` so many seconds, until the input ends or nothing more can change."""
    news = News()
    is_challenger_stuck = threading.Event()

    def complain() -> None:
        say(News(news.copy, str(_TOO_SLOW), news.challenger, news.challenger_problem))

    def give_up() -> None:
        complain()
        os._exit(GAVE_UP)

    def give_up_the_challenger() -> None:
        """The champion's look, which may be under way, ends first."""
        say(replace(news, refusals=0, challenger_problem=str(_TOO_SLOW)))
        is_challenger_stuck.set()

    with contextlib.closing(Trial()) as trial:
        champion = _followed(uri, folder, trial, Patience(give_up, complain).bounded)
        rival: Rival | None = None
        wish = Wish()
        while True:
            copy = champion.news.copy
            champion.look(afresh=wish.is_due())
            if champion.news.copy != copy:
                wish.forget()
            news = rival.add_to(champion.news) if rival else champion.news
            if is_challenger_stuck.is_set():
                say(replace(news, challenger_problem=str(_TOO_SLOW)))
                os._exit(GAVE_UP)
            say(news)
            _collect_from_now_on()
            if challenger and rival is None and every and champion.news.copy is not None:
                with contextlib.suppress(OutOfReach):  # no process can be started now
                    rival = Rival(challenger, folder, Patience(give_up_the_challenger).bounded)
                    rival.look_again_and_again(every)
            if champion.is_settled or not every:
                return
            pause = every if champion.news.copy is not None else min(every, _WITHOUT_MODEL_SECONDS)
            pause *= random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret
            heard = _heard_within(min(pause, wish.seconds_until_due()))
            if heard == b"":
                return
            if heard is not None:
                wish.make()


class Wish:
    """That the copy is made again. It is granted at once, and then after a pause that grows with each time.

    Meanwhile the alias is looked at as ever: another version may be what helps.
    """

    def __init__(self) -> None:
        self._is_made = False
        self._pause, self._granted_at = _PAUSE_AFTER_AFRESH, -math.inf

    def make(self) -> None:
        self._is_made = True

    def forget(self) -> None:
        """What it was about is not wanted any more."""
        self._is_made = False

    def seconds_until_due(self) -> float:
        return max(0.0, self._granted_at + self._pause - time.monotonic()) if self._is_made else math.inf

    def is_due(self) -> bool:
        """Whether it is granted now."""
        if self.seconds_until_due() > 0.0:
            return False
        now = time.monotonic()
        is_one_of_many = now <= self._granted_at + 2 * self._pause
        self._pause = min(2 * self._pause, _LONGEST_AFRESH) if is_one_of_many else _PAUSE_AFTER_AFRESH
        self._is_made, self._granted_at = False, now
        return True


def _collect_from_now_on() -> None:
    """Collect garbage again, leaving out all that the import of MLflow made."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _heard_within(seconds: float) -> bytes | None:
    """What came on the input; nothing in it if that has ended, None if time has passed."""
    readable, _, _ = select.select([sys.stdin], [], [], seconds)
    return os.read(sys.stdin.fileno(), 4096) if readable else None


def main() -> None:
    processes.end_with_parent()
    parser = argparse.ArgumentParser(prog="python -m api.loader", description=__doc__)
    parser.add_argument("uri")
    parser.add_argument("cache", type=Path)
    parser.add_argument("--every", type=float, default=0.0, metavar="SECONDS", help="0 looks once (default)")
    parser.add_argument("--challenger", metavar="URI")
    options = parser.parse_args()
    processes.limit(memory=MEMORY_BYTES)
    for noisy in ("mlflow", "urllib3", "alembic"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    gc.disable()  # a tenth of the time until the first line
    for package in _NOT_NEEDED:
        sys.modules[package] = None  # type: ignore[assignment]  # as if it were absent
    # There may be no cache yet, or none that can be written: a look will say so.
    with contextlib.suppress(OSError):
        files.remove_abandoned(options.cache)
    follow(options.uri, options.cache, options.every, options.challenger, _say)


def _say(news: News) -> None:
    sys.stdout.buffer.write(news.line())
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
