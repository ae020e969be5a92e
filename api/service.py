"""What every answer needs: the model in use, who may ask, what is counted. Flask and the lane share one."""

import functools
import time
from typing import Any, NamedTuple

from api import batch, predict, request_id
from api.predict import Watch
from api.served import Model, ServedModel
from api.shadow import Sender
from api.tally import Tally
from api.tokens import Guard
from mlflow_model.errors import Busy, ScoringError, Unauthorized


class Answer(NamedTuple):
    """`model` is the one that gave it, or None if there was none or nobody was allowed to ask."""

    status: int
    content: bytes
    model: Model | None
    content_type: str = "application/json"

    def headers(self, asked_as: str) -> list[tuple[str, str]]:
        """What goes with it, besides type and length: the model, the request's id, how to be let in."""
        model = () if self.model is None else self.model.headers
        again = [("Retry-After", "1")] if self.status == Busy.status and self.model is not None else []
        challenge = [("WWW-Authenticate", "Bearer")] if self.status == Unauthorized.status else []
        return [*model, (request_id.HEADER, asked_as), *again, *challenge]


class Service:
    """Answers POST /predict and /predict/batch, and counts what it answers."""

    def __init__(
        self,
        served: ServedModel,
        guard: Guard | None = None,
        tally: Tally | None = None,
        shadow: Sender | None = None,
    ) -> None:
        self.served = served
        self.guard = guard or Guard()
        self.tally = tally or Tally()
        self._shadow = shadow
        self._watched: tuple[Model | None, Watch] = (None, lambda *_: None)

    def predict(
        self, content_type: str | None, content_encoding: str | None, authorization: str | None, body: bytes
    ) -> Answer:
        """Decide on one client. Never raises."""
        started = time.perf_counter()
        model = None
        try:
            self.guard.check("/predict", authorization)
            model = self.served.model
            status, content = predict.answer(
                model.scorer, content_type, content_encoding, body, self._watch(model)
            )
        except ScoringError as error:
            status, content = predict.refusal(error)
        except Exception as error:  # noqa: BLE001 - the contract's answer to a bug, whatever it is
            status, content = predict.refusal(predict.internal_error(error))
        self.tally.answered("/predict", status, time.perf_counter() - started)
        return Answer(status, content, model)

    def predict_batch(self, content_type: str | None, content_encoding: str | None, body: bytes) -> Answer:
        """Decide on many clients. Raises ModelUnavailable."""
        model = self.served.model
        watch = functools.partial(self.tally.decided_many, model.called, model.scorer)
        status, answered_type, content = batch.answer(
            model.scorer, content_type, content_encoding, body, watch
        )
        return Answer(status, content, model, answered_type)

    def _watch(self, model: Model) -> Watch:
        """Made once for each model."""
        watched, watch = self._watched
        if watched is not model:
            watch = functools.partial(self._decided, model)
            self._watched = (model, watch)
        return watch

    def _decided(self, model: Model, client: dict[str, Any], decision: dict[str, Any]) -> None:
        self.tally.decided(model.called, model.scorer, client, decision)
        if self._shadow is not None and self.served.news.challenger is not None:
            self._shadow.offer(model.called, client, decision)
