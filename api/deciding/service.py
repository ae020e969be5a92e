"""Answers requests for decisions: body bytes in, status and body bytes out. Flask and the lane share one."""

import functools
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from api.counting.tally import Tally
from api.deciding import one_client
from api.deciding.answer import Answer, in_words, internal_error
from api.deciding.computing_pool import Pool
from api.deciding.explained_client import Explanation
from api.deciding.formats import kept_columns
from api.deciding.listener import Listener
from api.deciding.many_clients import Batch
from api.deciding.task import ModelTask
from api.delivery.news import Copy
from api.delivery.served import Model, ServedModel, loaded
from api.paths import BATCH, PREDICT
from api.recording.records import OFF, Asked, Records
from api.tokens import Guard
from journal import ids
from mlflow_model.errors import BadData, JournalUnavailable, ScoringError


class _Made(NamedTuple):
    """A decision, and since when it was asked for."""

    model: Model
    client: Mapping[str, Any]
    decision: Mapping[str, Any]
    started: float
    asked_as: str


class Service:
    """Answers POST /predict, /predict/batch and /explain, counts answers, and tells listeners decisions."""

    def __init__(
        self,
        served: ServedModel,
        guard: Guard | None = None,
        tally: Tally | None = None,
        listeners: Sequence[Listener] = (),
        pool: Pool | None = None,
        records: Records | None = None,
    ) -> None:
        self.served = served
        self.guard = guard or Guard()
        self.tally = tally or Tally()
        self._listeners = (self.tally, *listeners)
        self._tell = tuple(listener.decided for listener in self._listeners)
        self._pool, self._records = pool, records
        self._in_threads: dict[int, float] = {}  # until when a thread may compute

    def predict(
        self,
        content_type: str | None,
        content_encoding: str | None,
        authorization: str | None,
        body: bytes,
        asked_as: str,
        client_reference: str | None = None,
    ) -> Answer:
        """Decide on one client: the whole of POST /predict without the transport. Never raises."""
        started = time.perf_counter()
        model = None
        try:
            caller = self.guard.check(PREDICT.path, authorization).name
            model = self.served.model
            if self._records is not None:
                self._check(self._records, PREDICT.path)
            client, decision = one_client.decide(model.scorer, content_type, content_encoding, body)
            content = one_client.written(decision)
            made = _Made(model, client, decision, started, asked_as)
            if self._records is None:
                self._decided(made)
                return Answer(200, content, model)
            asked = Asked(asked_as, caller, client_reference)
            return Answer(200, content, model, decision_id=self._record(self._records, made, asked))
        except ScoringError as error:
            answer = Answer.of(error, model)
        except BaseException as error:  # noqa: BLE001 - whatever a bundle's code raises
            answer = Answer.of(internal_error(error, asked_as), model)
        self.tally.answered(PREDICT.path, answer.status, time.perf_counter() - started)
        return answer

    def _check(self, records: Records, path: str) -> None:
        """Raises JournalUnavailable, and then nothing is to be decided."""
        try:
            records.check()
        except JournalUnavailable:
            self.tally.not_recorded(path)
            raise

    def _record(self, records: Records, made: _Made, asked: Asked) -> str:
        """The receipt's id. Raises JournalUnavailable where it is known already that there is no receipt."""
        heard = functools.partial(self._heard, made)
        try:
            return records.record(made.model, made.client, made.decision, asked, heard)
        except JournalUnavailable:
            self._left_unanswered()
            raise

    def _heard(self, made: "_Made", *, leaves: bool) -> None:
        """Called when it is known whether the decision was recorded. Raises nothing."""
        if leaves:
            self._decided(made)
            return
        self.tally.answered(PREDICT.path, JournalUnavailable.status, time.perf_counter() - made.started)
        self._left_unanswered()

    def _left_unanswered(self) -> None:
        for listener in self._listeners:
            listener.left_unanswered(PREDICT.path, 1)

    def _decided(self, made: "_Made") -> None:
        """Tell listeners. What they raise changes no answer."""
        seconds = time.perf_counter() - made.started
        for tell in self._tell:
            try:
                tell(made.model, made.client, made.decision, seconds)
            except Exception as error:  # noqa: BLE001 - the decision stands, whoever cannot hear of it
                internal_error(error, made.asked_as)

    def explain(
        self, content_type: str | None, content_encoding: str | None, body: bytes, asked_as: str
    ) -> Answer:
        """Explain what POST /predict would decide: nobody is told of a decision. Raises ModelUnavailable."""
        model = self.served.model
        asked = Explanation(body, asked_as, content_type, content_encoding)

        def answer() -> Answer:
            asked.decided(model)  # whoever is refused waits for no place
            return self.computed(model, asked)

        return in_words(answer, model, asked_as)

    def predict_batch(
        self,
        content_type: str | None,
        content_encoding: str | None,
        body: bytes,
        asked: Asked,
        keep: Sequence[str] = (),
        with_ids: bool = False,
    ) -> Answer:
        """Decide on many clients. Raises ModelUnavailable.

        `keep`: names of the body's columns to return. `with_ids`: return the ids of the receipts, too.
        """
        model = self.served.model

        def answer() -> Answer:
            names, journal = kept_columns.checked(keep), self._journal_for(asked, with_ids=with_ids)
            headers = content_type, content_encoding
            call = ids.written(ids.new())
            batch = Batch(body, asked.request_id, *headers, names, with_ids, journal, asked.caller, call=call)
            with batch.places.taken():
                return self._recorded(model, batch)

        return in_words(answer, model, asked.request_id)

    def _recorded(self, model: Model, batch: Batch) -> Answer:
        """As `_computed`. The journal is told of a refusal: the event of an answer may come all the same."""
        status = 500
        try:
            answer = self._computed(model, batch)
            status = answer.status
            return answer
        except ScoringError as error:
            status = error.status
            raise
        finally:
            if self._records is not None and status >= 500:
                self._records.refused_call(ids.read(batch.call))

    @property
    def journal_state(self) -> str:
        return OFF if self._records is None else self._records.state

    def _journal_for(self, asked: Asked, *, with_ids: bool) -> str:
        """Where the writer listens to the receipts of a batch, empty without a journal. Raises BadData."""
        if self._records is None:
            if with_ids:
                raise BadData("ids=1 demande un journal, et ce service n’en tient pas")
            return ""
        self._check(self._records, BATCH.path)
        if asked.client_reference is not None:
            raise BadData("X-Client-Reference nomme un seul client ; un lot demande les numéros par ids=1")
        return str(self._records.address)

    def computed(self, model: Model, task: ModelTask) -> Answer:
        """Compute in a process if one takes the task up, otherwise in this thread."""
        with task.places.taken():
            return self._computed(model, task)

    def computed_by(self, copy: Copy, task: ModelTask) -> Answer:
        """The same by a model that is not served, and is loaded here only if no process takes the task up."""
        with task.places.taken():
            return self._elsewhere(copy, task) or self._here(loaded(copy), task)

    def _computed(self, model: Model, task: ModelTask) -> Answer:
        answer = None if model.copy is None else self._elsewhere(model.copy, task)
        return self._here(model, task) if answer is None else answer._replace(model=model)

    def _elsewhere(self, copy: Copy, task: ModelTask) -> Answer | None:
        return None if self._pool is None else self._pool.answer(copy, task, self.tally)

    def _here(self, model: Model, task: ModelTask) -> Answer:
        with self._watched(task.seconds):
            return task.answer(model, self._listeners)

    @contextmanager
    def _watched(self, seconds: float) -> Iterator[None]:
        """While a thread computes with a bundle's code, it can be seen how long it takes."""
        thread = threading.get_ident()
        self._in_threads[thread] = time.monotonic() + seconds
        try:
            yield
        finally:
            del self._in_threads[thread]

    @property
    def hangs(self) -> bool:
        """Whether a thread takes too long. It cannot be ended: the worker must be replaced."""
        now = time.monotonic()
        return any(latest < now for latest in list(self._in_threads.values()))
