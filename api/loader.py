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
import os
import random
import select
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from api import cache, model_uri
from api.news import Copy, News
from mlflow_model import legacy, signing
from mlflow_model.errors import LoadingFailed, ModelUnavailable, NotInRegistry, OutOfReach
from mlflow_model.trial import Trial

if TYPE_CHECKING:
    from mlflow_model.registry import Reference

# MLflow imports these if it finds them, a sixth of the time until the first line. Reading a registry needs
# neither: mlflow-skinny comes without them.
_NOT_NEEDED = ("pandas", "scipy")

_WITHOUT_MODEL_SECONDS = 2.0
_JITTER = 0.1
# A worker that cannot use a copy asks for another at once, perhaps again and again.
_PAUSE_AFTER_AFRESH = 1.0
# A version that was refused is tried again after so long, and after twice as long each time.
FIRST_PAUSE, LONGEST_PAUSE = 15.0, 900.0

Say = Callable[[News], object]


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
            bundle, _ = legacy.convert(self._path)
            signing.check(bundle.manifest, None)
            copy = Copy(str(cache.keep(bundle, self._folder)), self._path.name, None, None)
            self._trial.verified(Path(copy.folder), copy.digest, copy.name, copy.signature)
            self.news = News(copy)
        except ModelUnavailable as problem:
            self.news = News(problem=str(problem))


class RegisteredModel:
    """The last good version that a model URI named, and why that is not what it names now, if so."""

    def __init__(self, uri: str, folder: Path, trial: Trial) -> None:
        from mlflow_model import registry  # takes seconds, and a pickle needs none of it

        self._registry = registry
        self._uri, self._folder, self._trial = uri, folder, trial
        self._refused: Reference | None = None
        self._refusal: str | None = None
        self._pause, self._again_at = FIRST_PAUSE, 0.0
        self.is_absent = False
        self.news = News()

    @property
    def is_settled(self) -> bool:
        return self.news.copy is not None and not model_uri.can_move(self._uri)

    def look(self, *, afresh: bool) -> None:
        """`afresh`: bring what is named once more, even if it is the same as before or was refused."""
        copy = self.news.copy
        try:
            named = self._registry.resolve(self._uri)
        except ModelUnavailable as problem:
            self.is_absent = isinstance(problem, NotInRegistry)
            self.news = News(copy, str(problem), looked_at=self._now() if self.is_absent else None)
            return
        self.is_absent = False
        if afresh:
            self._bring(named)
        elif copy is not None and (copy.version, copy.digest) == (named.version, named.digest):
            self._refused = None
            self.news = News(copy, looked_at=self._now())
        elif named == self._refused and time.monotonic() < self._again_at:
            self.news = News(copy, self._refusal, looked_at=self._now())
        else:
            self._bring(named)

    def _now(self) -> float | None:
        """For `looked_at`."""
        return time.monotonic() if model_uri.can_move(self._uri) else None

    def _bring(self, named: "Reference") -> None:
        try:
            copy = self._brought(named)
        except OutOfReach as problem:
            self.news = News(self.news.copy, str(problem), looked_at=self._now())
        except ModelUnavailable as problem:
            self._refuse(named, problem)
        except Exception as error:  # noqa: BLE001 - somebody else's files, which may be anything
            self._refuse(named, LoadingFailed(f"elle ne peut pas être lue ({type(error).__name__})"))
        else:
            self._refused = None
            self.news = News(copy, looked_at=self._now())

    def _brought(self, named: "Reference") -> Copy:
        """Its copy, verified and tried out. Raises ModelUnavailable."""
        bundle = self._registry.download(named, self._folder)
        signing.check(bundle.manifest, named.signature)
        folder = str(cache.keep(bundle, self._folder))
        copy = Copy(folder, named.name, named.version, named.alias, signature=named.signature)
        self._trial.verified(Path(folder), copy.digest, copy.name, copy.signature)
        cache.remember(self._uri, self._folder, copy)
        return copy

    def _refuse(self, named: "Reference", problem: ModelUnavailable) -> None:
        self._pause = min(2 * self._pause, LONGEST_PAUSE) if named == self._refused else FIRST_PAUSE
        refusals = int(named != self._refused)
        self._refused, self._again_at = named, time.monotonic() + self._pause
        self._refusal = _about(named, problem)
        self.news = News(self.news.copy, self._refusal, refusals=refusals, looked_at=self._now())


def _about(named: "Reference", problem: ModelUnavailable) -> str:
    if named.version is None or not isinstance(problem, LoadingFailed):
        return str(problem)
    return str(LoadingFailed(f"version {named.version} de {named.name} refusée : {problem.detail}"))


class Rival:
    """The challenger, looked at in a thread of its own. Without a version of that name there is none."""

    def __init__(self, uri: str, folder: Path) -> None:
        self._model = RegisteredModel(uri, folder, Trial())
        self._refusals = self._told = 0
        self._thread: threading.Thread | None = None

    def add_to(self, news: News) -> News:
        """The champion's news with the challenger's."""
        its, refusals = self._model.news, self._refusals
        news = replace(news, refusals=news.refusals + refusals - self._told)
        self._told = refusals
        if self._model.is_absent:
            return news
        return replace(news, challenger=its.copy, challenger_problem=its.problem)

    def look_again_and_again(self, every: float) -> None:
        """Begin, if it has not begun."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, args=[every], name="rival", daemon=True)
            self._thread.start()

    def _look(self, every: float) -> None:
        while True:
            self._model.look(afresh=False)
            self._refusals += self._model.news.refusals
            time.sleep(every)


def _followed(uri: str, folder: Path, trial: Trial) -> PickleFile | RegisteredModel:
    if model_uri.is_pickle(uri):
        return PickleFile(Path(uri), folder, trial)
    return RegisteredModel(uri, folder, trial)


def look_once(uri: str, folder: Path) -> News:
    """What one look at a model URI brings."""
    with contextlib.closing(Trial()) as trial:
        model = _followed(uri, folder, trial)
        model.look(afresh=False)
        return model.news


def follow(
    uri: str, folder: Path, every: float, challenger: str | None, say: Callable[[News], object]
) -> None:
    """Look again and again, `every` so many seconds, until the input ends or nothing more can change."""
    with contextlib.closing(Trial()) as trial:
        champion = _followed(uri, folder, trial)
        rival: Rival | None = None
        afresh = False
        while True:
            champion.look(afresh=afresh)
            say(rival.add_to(champion.news) if rival else champion.news)
            _collect_from_now_on()
            if challenger and rival is None and every and champion.news.copy is not None:
                rival = Rival(challenger, folder)
                rival.look_again_and_again(every)
            if champion.is_settled or not every:
                return
            pause = every if champion.news.copy is not None else min(every, _WITHOUT_MODEL_SECONDS)
            if afresh:
                time.sleep(_PAUSE_AFTER_AFRESH)
            heard = _heard_within(pause * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311 - no secret
            if heard == b"":
                return
            afresh = heard is not None


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
    parser = argparse.ArgumentParser(prog="python -m api.loader", description=__doc__)
    parser.add_argument("uri")
    parser.add_argument("cache", type=Path)
    parser.add_argument("--every", type=float, default=0.0, metavar="SECONDS", help="0 looks once (default)")
    parser.add_argument("--challenger", metavar="URI")
    options = parser.parse_args()
    for noisy in ("mlflow", "urllib3", "alembic"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    gc.disable()  # a tenth of the time until the first line
    for package in _NOT_NEEDED:
        sys.modules[package] = None  # type: ignore[assignment]  # as if it were absent
    follow(options.uri, options.cache, options.every, options.challenger, _say)


def _say(news: News) -> None:
    sys.stdout.buffer.write(news.line())
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
