"""Answers requests for decisions: body bytes in, status and body bytes out. Flask and the lane share one."""

import functools
import threading
import time
from typing import NamedTuple

from api import batch, predict, request_id
from api.batch_pool import SECONDS, Pool
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
        again = [("Retry-After", "1")] if self.status == Busy.status else []
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
        pool: Pool | None = None,
    ) -> None:
        self.served = served
        self.guard = guard or Guard()
        self.tally = tally or Tally()
        self._shadow = shadow
        self._pool = pool
        self._in_threads: dict[int, float] = {}  # since when a thread decides on a batch

    def predict(
        self,
        content_type: str | None,
        content_encoding: str | None,
        authorization: str | None,
        body: bytes,
        asked_as: str,
    ) -> Answer:
        """Decide on one client: the whole of POST /predict but for the transport. Never raises."""
        started = time.perf_counter()
        model = None
        try:
            self.guard.check("/predict", authorization)
            model = self.served.model
            client, decision = predict.decided(model.scorer, content_type, content_encoding, body)
            content = predict.written(decision)
            self.tally.predicted(
                model.called, model.scorer.features, client, decision, time.perf_counter() - started
            )
            if self._shadow is not None and self.served.news.challenger is not None:
                self._shadow.offer(model.called, client, decision)
            return Answer(200, content, model)
        except ScoringError as error:
            status, content = predict.refusal(error)
        except BaseException as error:  # noqa: BLE001 - whatever a bundle's code raises
            status, content = predict.refusal(predict.internal_error(error, asked_as))
        self.tally.answered("/predict", status, time.perf_counter() - started)
        return Answer(status, content, model)

    def predict_batch(
        self, content_type: str | None, content_encoding: str | None, body: bytes, asked_as: str
    ) -> Answer:
        """Decide on many clients. Raises ModelUnavailable."""
        model = self.served.model
        request = batch.Request(content_type, content_encoding, body, asked_as)
        try:
            with batch.PLACES.taken():
                status, answered_type, content = self._batch(model, request)
        except ScoringError as error:
            status, answered_type, content = batch.refusal(error)
        except BaseException as error:  # noqa: BLE001 - whatever a bundle's code raises
            status, answered_type, content = batch.refusal(predict.internal_error(error, asked_as))
        return Answer(status, content, model, answered_type)

    def _batch(self, model: Model, request: batch.Request) -> batch.Answered:
        """In a process where there is one for it, else in this thread."""
        if self._pool is not None and (answered := self._pool.answer(model, request, self.tally)):
            return answered
        watch = functools.partial(self.tally.decided_many, model.called, model.scorer)
        thread = threading.get_ident()
        self._in_threads[thread] = time.monotonic()
        try:
            return batch.answer(
                model.scorer, request.content_type, request.content_encoding, request.body, watch
            )
        finally:
            del self._in_threads[thread]

    @property
    def hangs(self) -> bool:
        """Whether a thread decides on a batch for longer than any may take: nothing ends a thread alone."""
        latest = time.monotonic() - SECONDS
        return any(since < latest for since in list(self._in_threads.values()))
