"""The model that this process serves: none at first, then the verified copy that it was told of."""

import logging
from dataclasses import dataclass
from pathlib import Path

from api.news import Copy, News
from mlflow_model import bundle as bundles
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


class ServedModel:
    """Holds the current model, or the reason why there is none.

    Loading never happens on the path of a request.
    """

    def __init__(self) -> None:
        self._model: Model | None = None
        self._problem: ModelUnavailable = LoadingFailed(
            "chargement en cours ; réessayez dans quelques secondes"
        )

    @property
    def model(self) -> Model:
        """The model in use. Raises ModelUnavailable, with the reason, while there is none."""
        if self._model is None:
            raise self._problem.with_traceback(None)  # or each answer would lengthen it
        return self._model

    @property
    def doubt(self) -> str | None:
        """Why the model in use is not confirmed, or None if it is."""
        return None if self.model.confirmed else str(self._problem)

    def hear(self, news: News) -> bool:
        """Serve the copy, or remember why there is none. Returns whether the copy could be used."""
        if news.problem is not None:
            self._problem = ModelUnavailable(news.problem)
        if news.copy is None:
            return True
        try:
            self._model = self._loaded(news.copy)
        except LoadingFailed as problem:
            _log.error("a verified copy cannot be used: %s", problem)
            self._problem = problem
            return False
        return True

    def _loaded(self, copy: Copy) -> Model:
        scorer = self._scorer(copy)
        return Model(scorer, copy.name, copy.version, copy.alias, copy.digest, copy.confirmed)

    def _scorer(self, copy: Copy) -> Scorer:
        if self._model is not None and self._model.digest == copy.digest:
            return self._model.scorer
        bundle = bundles.read(Path(copy.folder))
        if bundle.digest != copy.digest:
            raise LoadingFailed("le cache local a été modifié ; supprimez-le (MODEL_CACHE)")
        return bundle.scorer()
