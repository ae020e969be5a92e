"""What the loader looks at: a documented pickle, a registered model, or the challenger of one."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from api.delivery import cache, model_uri, signed_numbers
from api.delivery.news import Copy, News
from mlflow_model.bundle import signing
from mlflow_model.bundle.signing import Statement
from mlflow_model.bundle.trial import Trial
from mlflow_model.errors import (
    LoadingFailed,
    ModelUnavailable,
    NotInRegistry,
    NotRegistered,
    NotUnderstood,
    OutOfReach,
)
from mlflow_model.handover import model_files

if TYPE_CHECKING:
    from mlflow_model.registry.versions import Reference

# A refused version is tried again after a pause, which doubles each time. The first pause is shorter for a
# version that was only out of reach.
FIRST_PAUSE, LONGEST_PAUSE = 15.0, 900.0
_FIRST_OUT_OF_REACH = 1.0

Bounded = Callable[[], contextlib.AbstractContextManager[object]]

_log = logging.getLogger("scoring_client")


class PickleFile:
    """The documented pickle. Once it has been read, it is not looked at again."""

    def __init__(self, path: Path, folder: Path, trial: Trial) -> None:
        self._path, self._folder, self._trial = path, folder, trial
        self.news = News()

    @property
    def is_settled(self) -> bool:
        return self.news.copy is not None

    def look(self, *, afresh: bool) -> None:
        try:
            signing.check("", self._path.name, None)
            model = model_files.read(self._path)
            bundle, _ = model_files.bundle_of(model, self._path)
            name = "".join(one if one.isprintable() else "?" for one in self._path.name)
            copy = Copy(str(cache.keep(bundle, self._folder)), name, None, None)
            self._trial.verified(Path(copy.folder), copy.digest)
            if model.unused:
                _log.warning("%s: not used: %s", name, ", ".join(map(repr, model.unused)))
            self.news = News(copy)
        except ModelUnavailable as problem:
            self.news = News(problem=str(problem))


class RegisteredModel:
    """Follows a model URI: keeps the last good version, and the problem with the one that it names now."""

    def __init__(
        self,
        uri: str,
        folder: Path,
        trial: Trial,
        bounded: Bounded = contextlib.nullcontext,
        *,
        is_challenger: bool = False,
    ) -> None:
        from mlflow_model.registry import fetching, versions  # seconds, which a pickle is spared

        self._resolve, self._download = versions.resolve, fetching.download
        self._is_challenger = is_challenger
        self._uri, self._folder, self._trial, self._bounded = uri, folder, trial, bounded
        self._failed: _Failed | None = None
        self.is_absent = False
        self.news = News()

    @property
    def is_settled(self) -> bool:
        return self.news.copy is not None and not model_uri.can_move(self._uri)

    def look(self, *, afresh: bool) -> None:
        """Look once. `afresh`: bring the version again, even if it is the same as before or was refused."""
        copy = self.news.copy
        if fault := model_uri.fault(self._uri):
            self.news = News(copy, str(LoadingFailed(fault)))
            return
        try:
            with self._bounded():
                named = self._resolve(self._uri)
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
            # At the next look another key, or a later time, may allow it.
            self._fail(named, problem, again_at=0.0)
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
        """Check the signed statement, if one is asked for, before anything is fetched. Raises LoadingFailed.

        The number must be higher than the last one served, except for a challenger, which is not served.
        """
        if self._is_challenger:
            return signing.check(named.digest or "", named.name, named.statement)
        return signed_numbers.check(self._folder, named.digest or "", named.name, named.statement)

    def _now(self) -> float | None:
        """The time for `looked_at`."""
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
        """Fetch the version, verify it and have it tried out. Return its copy. Raises ModelUnavailable."""
        with cache.workplace(self._folder) as place, self._bounded():
            bundle = self._download(named, place)
        folder = str(cache.keep(bundle, self._folder))
        copy = Copy(folder, named.name, named.version, named.alias, statement=named.statement)
        self._trial.verified(Path(folder), copy.digest)
        if statement is not None and not self._is_challenger:
            signed_numbers.remember(self._folder, statement)
        cache.remember(self._uri, self._folder, copy)
        return copy

    def _fail(self, named: "Reference", problem: ModelUnavailable, again_at: float | None = None) -> None:
        """Tell the problem, and wait longer each time before the next attempt. Out of reach is no refusal."""
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
    """A version that could not be brought, why, and when to try again."""

    named: "Reference"
    problem: str
    is_refused: bool
    pause: float
    again_at: float


def _is_of(copy: Copy, named: "Reference") -> bool:
    """Whether the copy is of this version and this statement: the one before may expire."""
    return (copy.version, copy.digest, copy.statement) == (named.version, named.digest, named.statement)


def _about(named: "Reference", problem: ModelUnavailable) -> str:
    if named.version is None or not isinstance(problem, LoadingFailed):
        return str(problem)
    return str(LoadingFailed(f"version {named.version} de {named.name} refusée : {problem.detail}"))


class Challenger:
    """Looks at the challenger in a thread of its own. There need not be one."""

    def __init__(self, uri: str, folder: Path, bounded: Bounded) -> None:
        self._model = RegisteredModel(uri, folder, Trial(), bounded, is_challenger=True)
        self._news = News()  # of the last look that has ended
        self._refusals = self._told = 0
        self._thread: threading.Thread | None = None

    def add_to(self, news: News) -> News:
        """Add the challenger's news to the champion's."""
        its, refusals = self._news, self._refusals
        news = replace(news, refusals=news.refusals + refusals - self._told)
        self._told = refusals
        return replace(news, challenger=its.copy, challenger_problem=its.problem)

    def look_again_and_again(self, every: float) -> None:
        """Start the thread, unless it has been started."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, args=[every], name="challenger", daemon=True)
            self._thread.start()

    def _look(self, every: float) -> None:
        while True:
            self._model.look(afresh=False)
            self._news = News() if self._model.is_absent else self._model.news
            self._refusals += self._model.news.refusals
            time.sleep(every)


Source = PickleFile | RegisteredModel


def followed(uri: str, folder: Path, trial: Trial, bounded: Bounded = contextlib.nullcontext) -> Source:
    if model_uri.is_pickle(uri):
        return PickleFile(Path(uri), folder, trial)
    return RegisteredModel(uri, folder, trial, bounded)
