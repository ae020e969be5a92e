"""The model that this process serves: none at first, then the verified copy that it was told of last."""

import functools
import logging
from dataclasses import dataclass
from pathlib import Path

from api.news import Copy, News
from mlflow_model import bundle as bundles
from mlflow_model import signing
from mlflow_model.errors import LoadingFailed, ModelUnavailable
from mlflow_model.scoring import Scorer

_log = logging.getLogger("scoring_client")


@dataclass(frozen=True)
class Model:
    """One verified model in use. `version` and `alias` are None for a pickle or a bare model URI.

    `confirmed`: since the service started, the registry has said that this is the model.
    """

    scorer: Scorer
    name: str
    version: str | None
    alias: str | None
    digest: str
    confirmed: bool = True

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
    """Holds the current model, or the reason why there is none.

    Loading never happens on the path of a request.
    """

    def __init__(self) -> None:
        self._model: Model | None = None
        self._copy: Copy | None = None
        self._problem: ModelUnavailable = LoadingFailed(
            "chargement en cours ; réessayez dans quelques secondes"
        )
        self.news = News()

    @property
    def model(self) -> Model:
        """The model in use. Raises ModelUnavailable, with the reason, while there is none."""
        if self._model is None:
            raise self._problem.with_traceback(None)  # or each answer would lengthen it
        return self._model

    @property
    def doubt(self) -> str | None:
        """Why the model in use may not be the one that is wanted now, if there is a reason."""
        is_wanted = self.news.problem is None and self.news.copy == self._copy
        return None if is_wanted and self.model.confirmed else str(self._problem)

    def hear(self, news: News) -> bool:
        """Serve the copy, or remember why there is none. Returns whether the copy could be used."""
        self.news = news
        if news.problem is not None:
            self._problem = ModelUnavailable(news.problem)
        if news.copy is None or news.copy == self._copy:
            return True
        try:
            self._model = self._loaded(news.copy)
            self._copy = news.copy
        except LoadingFailed as problem:
            _log.error("a verified copy cannot be used: %s", problem)
            self._problem = problem
            return False
        except Exception as error:  # noqa: BLE001 - the bundle's own code, which may do anything
            _log.error("a verified copy cannot be used: %s", type(error).__name__)
            self._problem = LoadingFailed("la version ne peut pas être utilisée ici ; consultez le journal")
            return False
        return True

    def _loaded(self, copy: Copy) -> Model:
        scorer = self._scorer(copy)
        return Model(scorer, copy.name, copy.version, copy.alias, copy.digest, copy.confirmed)

    def _scorer(self, copy: Copy) -> Scorer:
        if self._model is not None and self._model.digest == copy.digest:
            return self._model.scorer
        bundle = bundles.read_again(Path(copy.folder), copy.digest)
        signing.check(bundle.manifest, copy.signature)
        return bundle.scorer()
