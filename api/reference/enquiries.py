"""Answers about the version that is served and the reference clients: the worker's side.

A process of the worker's own computes, and where it cannot be started there is no answer: what it imports
would stay in a worker that decides. With gunicorn and --debug, which have no such processes, threads answer.
"""

import functools
from collections.abc import Mapping, Sequence

from api.deciding.answer import Answer, in_words
from api.deciding.computing_pool import ComputingProcess, Pool
from api.deciding.service import Service
from api.delivery.served import Model
from api.reference import parameters
from api.reference.history import History
from api.reference.tasks import AboutModel, Enquiry, Neighbours, PageOfClients, Totals, written

_PROCESS = "api.reference.reference_process"


def reference_pool() -> Pool:
    return Pool(functools.partial(ComputingProcess, _PROCESS))


class Enquiries:
    """All of them raise ModelUnavailable. `pool`: of processes; None where threads answer."""

    def __init__(self, service: Service, pool: Pool | None = None) -> None:
        self._service, self._pool, self._history = service, pool, History()

    def about_model(self, asked_as: str) -> Answer:
        return self._answered(self._service.served.model, AboutModel(b"", asked_as))

    def history(self, asked_as: str) -> Answer:
        """What the registry says of the version."""
        model = self._service.served.model
        return in_words(lambda: written(self._history.of(model), model), model, asked_as)

    def totals(self, asked_as: str) -> Answer:
        return self._answered(self._service.served.model, Totals(b"", asked_as))

    def clients(self, given: Mapping[str, Sequence[str]], asked_as: str) -> Answer:
        """`given`: the values of each parameter. Raises BadEnquiry."""
        after, limit = parameters.page(given)
        return self._answered(self._service.served.model, PageOfClients(b"", asked_as, after, limit))

    def neighbours(
        self, content_type: str | None, content_encoding: str | None, body: bytes, asked_as: str
    ) -> Answer:
        """Raises ScoringError, as POST /predict refuses."""
        model, asked = self._service.served.model, Neighbours(body, asked_as, content_type, content_encoding)

        def answer() -> Answer:
            asked.client(model)  # whoever is refused waits for no place
            return self._computed(model, asked)

        return in_words(answer, model, asked_as)

    def _answered(self, model: Model, asked: Enquiry) -> Answer:
        return in_words(functools.partial(self._computed, model, asked), model, asked.asked_as)

    def _computed(self, model: Model, asked: Enquiry) -> Answer:
        with asked.places.taken():
            if self._pool is None or model.copy is None:
                return asked.answer(model, ())
            answer = self._pool.answer(model.copy, asked, self._service.tally)
            if answer is None:
                raise asked.places.refusal()
            return answer._replace(model=model)
