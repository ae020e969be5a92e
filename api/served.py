"""The model that this process serves: none at first, then the copy whose number the page names."""

import functools
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from api.news import Copy, News
from mlflow_model import bundle as bundles
from mlflow_model.errors import CopyUnusable, LoadingFailed, ModelUnavailable
from mlflow_model.scoring import Scorer

_LOADING = LoadingFailed("chargement en cours ; réessayez dans quelques secondes")

_log = logging.getLogger("scoring_client")


@dataclass(frozen=True)
class Model:
    """One verified model in use. `version` and `alias` are None for a pickle or a bare model URI.

    `confirmed`: since the service started, the registry has said that this is the model. `copy`: where
    another process finds it.
    """

    scorer: Scorer
    name: str
    version: str | None
    alias: str | None
    digest: str
    confirmed: bool = True
    copy: Copy | None = None

    @functools.cached_property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """What an answer says of the model that gave it."""
        version = () if self.version is None else (("X-Model-Version", self.version),)
        confirmed = () if self.confirmed else (("X-Model-Confirmed", "no"),)
        return (*version, ("X-Model-Digest", self.digest), *confirmed)

    @functools.cached_property
    def head(self) -> bytes:
        """The same as lines of an HTTP head."""
        return "".join(f"{name.lower()}: {value}\r\n" for name, value in self.headers).encode("latin-1")

    @functools.cached_property
    def called(self) -> str:
        """How metrics name it."""
        return self.version or self.name


class ServedModel:
    """Holds models ready under numbers, and answers with the one that the page names.

    `page`: that number is its first element, and somebody else changes it. Without one the model that this
    object hears of is in use as soon as it is loaded. Loading never happens on the path of a request.
    """

    def __init__(self, page: Sequence[int] | None = None, said_as: str = "serving") -> None:
        self._said_as = said_as
        self._own_page = [0]
        self._page = self._own_page if page is None else page
        self._held: dict[int, tuple[Copy, Model]] = {}
        self._in_use: tuple[int, Model | None, Copy | None] = (0, None, None)
        self._lock = threading.Lock()
        self.news = News()

    @property
    def model(self) -> Model:
        """The model in use. Raises ModelUnavailable, with the reason, while there is none."""
        number, model, _ = self._in_use
        if number != self._page[0]:
            model = self.turn()
        if model is None:
            raise self._absence()
        return model

    @property
    def doubt(self) -> str | None:
        """Why the model in use may not be the one that is wanted now, if there is a reason."""
        if self.news.problem is not None:
            return self.news.problem
        model, copy = self.model, self._in_use[2]
        return None if copy == self.news.copy and model.confirmed else str(_LOADING)

    def turn(self) -> Model | None:
        """Take the model that the page names into use, and forget the former ones."""
        with self._lock:
            number = self._page[0]
            if number in self._held:
                copy, model = self._held[number]
                self._in_use = number, model, copy
                self._held = {held: one for held, one in self._held.items() if held >= number}
            elif number == 0:
                self._in_use = 0, None, None
            return self._in_use[1]

    def hear(self, news: News) -> bool:
        """Serve the copy, or remember why there is none. Returns whether the copy could be used."""
        self.news = news
        if news.copy is None or news.copy == self._in_use[2]:
            return True
        number = self._own_page[0] + 1
        if not self.prepare(number, news.copy):
            self.news = replace(news, problem=news.problem or str(CopyUnusable()))
            return False
        self._own_page[0] = number
        self.turn()
        _log.info("%s %s", self._said_as, news.copy.called)
        return True

    def prepare(self, number: int, copy: Copy) -> bool:
        """Load a copy and hold it ready beside the one in use. Returns whether that could be done."""
        try:
            model = self._loaded(copy)
        except LoadingFailed as problem:
            _log.error("a verified copy cannot be used: %s", problem)
            return False
        except BaseException as error:  # noqa: BLE001 - whatever a bundle's code raises
            _log.error("a verified copy cannot be used: %s", type(error).__name__)
            return False
        with self._lock:
            in_use = self._page[0]
            self._held = {held: one for held, one in self._held.items() if held == in_use}
            self._held[number] = copy, model
        self.turn()
        return True

    def _absence(self) -> ModelUnavailable:
        problem = self.news.problem
        return LoadingFailed(_LOADING.detail) if problem is None else ModelUnavailable(problem)

    def _loaded(self, copy: Copy) -> Model:
        scorer = self._scorer(copy)
        return Model(scorer, copy.name, copy.version, copy.alias, copy.digest, copy.confirmed, copy)

    def _scorer(self, copy: Copy) -> Scorer:
        for _, held in self._held.values():
            if held.digest == copy.digest:
                return held.scorer
        return scorer_of(copy)


def scorer_of(copy: Copy) -> Scorer:
    """The copy's own scorer, of bytes whose digests are checked. Raises LoadingFailed."""
    return bundles.read_again(Path(copy.folder), copy.digest).scorer()
