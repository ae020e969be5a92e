"""The model that this process serves: none at first, then the one whose number is in use."""

import functools
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from api.delivery.news import Copy, News
from mlflow_model.bundle import bundles
from mlflow_model.bundle.scoring import Scorer
from mlflow_model.errors import CopyUnusable, LoadingFailed, ModelUnavailable

_LOADING = LoadingFailed("chargement en cours ; réessayez dans quelques secondes")

_log = logging.getLogger("scoring_client")


@dataclass(frozen=True)
class Model:
    """One verified model in use. `version` and `alias` are None for a pickle or a bare model URI.

    `confirmed`: the registry has named this version since the service started. `copy` tells another process
    where the model is.
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
        """The headers that name the model in an answer."""
        version = () if self.version is None else (("X-Model-Version", self.version),)
        confirmed = () if self.confirmed else (("X-Model-Confirmed", "no"),)
        return (*version, ("X-Model-Digest", self.digest), *confirmed)

    @property
    def facts(self) -> dict[str, Any]:
        """What an answer in JSON says of it."""
        policy = self.scorer.policy
        return {
            "name": self.name,
            "version": self.version,
            "alias": self.alias,
            "digest": self.digest,
            "confirmed": self.confirmed,
            "policy": {
                "optimal_threshold": policy.threshold,
                "margin": policy.margin,
                "lower_bound": policy.lower_bound,
                "upper_bound": policy.upper_bound,
            },
        }

    @functools.cached_property
    def head(self) -> bytes:
        """The headers as bytes of an HTTP head."""
        return "".join(f"{name.lower()}: {value}\r\n" for name, value in self.headers).encode("latin-1")

    @functools.cached_property
    def called(self) -> str:
        """How metrics name it."""
        return self.version or self.name


class ServedModel:
    """Holds models ready under numbers, and answers with the model whose number is in use.

    `number`: its first element is the number in use, which another process changes. Without it, a model is in
    use as soon as it is loaded. A request never waits for a model to load.
    """

    def __init__(self, number: Sequence[int] | None = None, said_as: str = "serving") -> None:
        self._said_as = said_as
        self._own_number = [0]
        self._number = self._own_number if number is None else number
        self._ready: dict[int, tuple[Copy, Model]] = {}
        self._in_use: tuple[int, Model | None, Copy | None] = (0, None, None)
        self._lock = threading.Lock()
        self.news = News()

    @property
    def model(self) -> Model:
        """The model in use. Raises ModelUnavailable, with the reason, while there is none."""
        number, model, _ = self._in_use
        if number != self._number[0]:
            model = self.turn()
        if model is None:
            raise self._absence()
        return model

    @property
    def doubt(self) -> str | None:
        """Why the model in use may not be the wanted one; None if it is."""
        if self.news.problem is not None:
            return self.news.problem
        model, copy = self.model, self._in_use[2]
        return None if copy == self.news.copy and model.confirmed else str(_LOADING)

    def turn(self) -> Model | None:
        """Use the model of the number in use from now on, and forget the former ones."""
        with self._lock:
            number = self._number[0]
            if number in self._ready:
                copy, model = self._ready[number]
                self._in_use = number, model, copy
                self._ready = {held: one for held, one in self._ready.items() if held >= number}
            elif number == 0:
                self._in_use = 0, None, None
            return self._in_use[1]

    def hear(self, news: News) -> bool:
        """Serve the copy of these news, or remember their problem. Return whether the copy could be used."""
        self.news = news
        if news.copy is None or news.copy == self._in_use[2]:
            return True
        number = self._own_number[0] + 1
        if not self.prepare(number, news.copy):
            self.news = replace(news, problem=news.problem or str(CopyUnusable()))
            return False
        self._own_number[0] = number
        self.turn()
        _log.info("%s %s", self._said_as, news.copy.called)
        return True

    def prepare(self, number: int, copy: Copy) -> bool:
        """Load a copy and hold it ready beside the one in use. Return whether that was possible."""
        try:
            model = self._loaded(copy)
        except LoadingFailed as problem:
            _log.error("a verified copy cannot be used: %s", problem)
            return False
        except BaseException as error:  # noqa: BLE001 - whatever a bundle's code raises
            _log.error("a verified copy cannot be used: %s", type(error).__name__)
            return False
        with self._lock:
            in_use = self._number[0]
            self._ready = {held: one for held, one in self._ready.items() if held == in_use}
            self._ready[number] = copy, model
        self.turn()
        return True

    def _absence(self) -> ModelUnavailable:
        problem = self.news.problem
        return LoadingFailed(_LOADING.detail) if problem is None else ModelUnavailable(problem)

    def _loaded(self, copy: Copy) -> Model:
        """Without loading again what is held already, perhaps under another name."""
        for _, held in self._ready.values():
            if held.digest == copy.digest:
                return _model(held.scorer, copy)
        return loaded(copy)


def loaded(copy: Copy) -> Model:
    """Load a copy, after checking every digest. Raises LoadingFailed."""
    return _model(bundles.read_again(Path(copy.folder), copy.digest).scorer(), copy)


def _model(scorer: Scorer, copy: Copy) -> Model:
    return Model(scorer, copy.name, copy.version, copy.alias, copy.digest, copy.confirmed, copy)
