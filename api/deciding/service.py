"""Answers requests for decisions: body bytes in, status and body bytes out. Flask and the lane share one."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from api.counting.tally import Tally
from api.deciding import many_clients, one_client
from api.deciding.answer import Answer, internal_error
from api.deciding.computing_pool import SECONDS, Pool
from api.deciding.formats import kept_columns
from api.deciding.listener import Listener
from api.delivery.served import Model, ServedModel
from api.paths import PREDICT
from api.tokens import Guard
from mlflow_model.errors import ScoringError, TooManyExplanations

_LONGEST_WAIT_SECONDS = 2.0  # of an explanation for its turn


class Service:
    """Answers POST /predict and /predict/batch, counts its answers, and tells listeners its decisions."""

    def __init__(
        self,
        served: ServedModel,
        guard: Guard | None = None,
        tally: Tally | None = None,
        listeners: Sequence[Listener] = (),
        pool: Pool | None = None,
    ) -> None:
        self.served = served
        self.guard = guard or Guard()
        self.tally = tally or Tally()
        self._listeners = (self.tally, *listeners)
        self._tell = tuple(listener.decided for listener in self._listeners)
        self._pool = pool
        self._in_threads: dict[int, float] = {}  # since when a thread computes
        self._explaining = threading.Lock()

    def predict(
        self,
        content_type: str | None,
        content_encoding: str | None,
        authorization: str | None,
        body: bytes,
        asked_as: str,
    ) -> Answer:
        """Decide on one client: the whole of POST /predict without the transport. Never raises."""
        started = time.perf_counter()
        model = None
        try:
            self.guard.check(PREDICT.path, authorization)
            model = self.served.model
            client, decision = one_client.decide(model.scorer, content_type, content_encoding, body)
            content = one_client.written(decision)
            seconds = time.perf_counter() - started
            for tell in self._tell:
                try:
                    tell(model, client, decision, seconds)
                except Exception as error:  # noqa: BLE001 - the decision stands, whoever cannot hear of it
                    internal_error(error, asked_as)
            return Answer(200, content, model)
        except ScoringError as error:
            answer = Answer.of(error, model)
        except BaseException as error:  # noqa: BLE001 - whatever a bundle's code raises
            answer = Answer.of(internal_error(error, asked_as), model)
        self.tally.answered(PREDICT.path, answer.status, time.perf_counter() - started)
        return answer

    def explain(
        self, content_type: str | None, content_encoding: str | None, body: bytes, asked_as: str
    ) -> Answer:
        """Explain what POST /predict would decide: nobody is told of a decision. Raises ModelUnavailable."""
        from explain import explanation  # a worker decides before it has imported this

        model = self.served.model

        def answer() -> Answer:
            client, decision = one_client.decide(model.scorer, content_type, content_encoding, body)
            with self._turn_to_explain(), self._watched():
                content = explanation.of(model.scorer, client, decision)
                return Answer(200, json.dumps(content, ensure_ascii=False, allow_nan=False).encode(), model)

        return _in_words(answer, model, asked_as)

    def predict_batch(
        self,
        content_type: str | None,
        content_encoding: str | None,
        body: bytes,
        asked_as: str,
        keep: Sequence[str] = (),
    ) -> Answer:
        """Decide on many clients. `keep`: names of the body's columns to return. Raises ModelUnavailable."""
        model = self.served.model

        def answer() -> Answer:
            names = kept_columns.checked(keep)
            batch = many_clients.Batch(content_type, content_encoding, body, asked_as, names)
            with many_clients.PLACES.taken():
                return self._batch(model, batch)

        return _in_words(answer, model, asked_as)

    def _batch(self, model: Model, batch: many_clients.Batch) -> Answer:
        """Decide in a computing process if one takes the batch, otherwise in this thread."""
        if self._pool is not None and (answer := self._pool.answer(model, batch, self.tally)):
            return answer
        with self._watched():
            return many_clients.answer(model, batch, self._listeners)

    @contextmanager
    def _turn_to_explain(self) -> Iterator[None]:
        """One at a time: threads that compute keep the event loop, which answers /predict, from its turns."""
        if not self._explaining.acquire(timeout=_LONGEST_WAIT_SECONDS):
            raise TooManyExplanations
        try:
            yield
        finally:
            self._explaining.release()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """While a thread computes with a bundle's code, it can be seen how long it takes."""
        thread = threading.get_ident()
        self._in_threads[thread] = time.monotonic()
        try:
            yield
        finally:
            del self._in_threads[thread]

    @property
    def hangs(self) -> bool:
        """Whether a thread takes too long. It cannot be ended: the worker must be replaced."""
        latest = time.monotonic() - SECONDS
        return any(since < latest for since in list(self._in_threads.values()))


def _in_words(answer: Callable[[], Answer], model: Model, asked_as: str) -> Answer:
    """The answer, or in the contract's form why there is none."""
    try:
        return answer()
    except ScoringError as error:
        return Answer.of(error, model)
    except BaseException as error:  # noqa: BLE001 - whatever a bundle's code raises
        return Answer.of(internal_error(error, asked_as), model)
