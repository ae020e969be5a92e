"""Answers whole requests: POST /predict at once in the event loop, all others by Flask in threads.

Requests come here when their bodies are whole, so that a slow client holds no thread.
"""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from api import logs, request_id
from api.deciding.answer import Answer, internal_error
from api.deciding.service import Service
from api.delivery.served import Model
from api.paths import BATCH, PATHS, UNKNOWN_PATH, Endpoint
from api.reference.enquiries import Enquiries
from api.reviewing.desk import Desk
from api.server import wsgi
from api.server.http_request import Request, text
from api.server.outbox import Barrier, Outbox
from api.server.wsgi import Address, Response
from mlflow_model.errors import (
    BodyTooLarge,
    Busy,
    Forbidden,
    ModelUnavailable,
    ScoringError,
    TooManyBodies,
    Unauthorized,
)

if TYPE_CHECKING:
    from flask import Flask

_FLASK_THREADS = 33  # more than batches, explanations, questions and enquiries hold: /health needs one
BUDGET_BYTES = 64 * 2**20  # of bodies, for each path that reads some
_access_log = logging.getLogger(logs.ACCESS)


class BodyBudget:
    """Bounds the bytes of bodies that are in memory at once."""

    def __init__(self, free: int) -> None:
        self._free = free

    def take(self, size: int) -> bool:
        """Take so many bytes. Return whether they were free."""
        if size > self._free:
            return False
        self._free -= size
        return True

    def give_back(self, size: int) -> None:
        self._free += size


class Lane:
    """Answers for one Service. `barrier`: what may keep answers back for a while.

    `desk`: where the journal is asked, if there is one. `enquiries`: about the version and the reference.
    """

    def __init__(
        self,
        service: Service,
        barrier: Barrier | None = None,
        desk: Desk | None = None,
        enquiries: Enquiries | None = None,
    ) -> None:
        self.service, self._desk, self._enquiries = service, desk, enquiries
        self.outbox = Outbox(barrier)
        # Two, so that many small bodies do not keep a batch out.
        self._budgets: dict[Endpoint | None, BodyBudget] = {
            one: BodyBudget(BUDGET_BYTES) for one in PATHS if one.body_limit
        }
        self._threads = ThreadPoolExecutor(_FLASK_THREADS, "flask")

    @functools.cached_property
    def flask(self) -> "Flask":
        """The Flask application, made when first needed: a worker decides before it has imported Flask."""
        from api.web.routes import flask_app

        return flask_app(self.service, self._desk, self._enquiries)

    # ---- Before a body has come

    def admit(self, request: Request) -> None:
        """Take from the budget for a body that is still to come.

        Raises ScoringError if the answer needs no body.

        It takes as much as the head announces, or the limit if the head announces nothing.
        """
        self.service.guard.check(request.path, text(request.fields.get(b"authorization")))
        length = request.limit if request.length is None else request.length
        if not request.is_for_a_decision:
            if _needs_model(request):
                _ = self.service.served.model  # raises ModelUnavailable, with the reason
            if length > request.limit:
                raise BodyTooLarge(request.limit)
        length = min(length, request.limit)
        if not self._budgets[request.endpoint].take(length):
            raise Busy if request.endpoint is BATCH else TooManyBodies
        request.reserved = length

    def let_go(self, request: Request) -> None:
        """Give its room back: the body is no longer in memory."""
        if request.reserved:
            self._budgets[request.endpoint].give_back(request.reserved)
            request.reserved = 0

    def refused(self, request: Request, error: ScoringError) -> tuple[Answer, str]:
        """The answer to a request that was not admitted, and the request's id. Count and log it."""
        asked_as = request_id.of(text(request.fields.get(b"x-request-id")))
        answer = Answer.of(error, self._model_behind(error) if _needs_model(request) else None)
        place = UNKNOWN_PATH if request.endpoint is None else request.endpoint.path
        self.service.tally.answered(place, answer.status, 0.0)
        if not request.is_for_a_decision:  # /predict is counted and not logged
            facts = {"method": "POST", "path": place, "status": answer.status, "request_id": asked_as}
            _access_log.info("POST %s %s", place, answer.status, extra={"facts": facts})
        return answer, asked_as

    def _model_behind(self, error: ScoringError) -> Model | None:
        if isinstance(error, Unauthorized | Forbidden | ModelUnavailable):
            return None
        with contextlib.suppress(ModelUnavailable):
            return self.service.served.model
        return None

    # ---- When a request is whole

    def decide(self, fields: Mapping[bytes, bytes], body: bytes) -> tuple[Answer, str]:
        """The answer to POST /predict, and the request's id."""
        find = fields.get
        asked_as = request_id.of(text(find(b"x-request-id")))
        answer = self.service.predict(
            text(find(b"content-type")),
            text(find(b"content-encoding")),
            text(find(b"authorization")),
            body,
            asked_as,
            text(find(b"x-client-reference")),
        )
        return answer, asked_as

    def ask_flask(self, request: Request, server: Address, client: Address) -> "asyncio.Future[Response]":
        """Have a thread answer. Cancelled before a thread has begun, it costs nothing.

        The body's room is given back when the thread has ended, even if nobody waits for the answer any more.
        """
        loop = asyncio.get_running_loop()
        try:
            asked = self._threads.submit(self._by_flask, request, server, client)
        except RuntimeError as error:  # the system gives no more threads
            self.let_go(request)
            failed: asyncio.Future[Response] = loop.create_future()
            failed.set_result(_failed(request, error))
            return failed
        asked.add_done_callback(lambda _: _in(loop, functools.partial(self.let_go, request)))
        return asyncio.wrap_future(asked)

    def _by_flask(self, request: Request, server: Address, client: Address) -> Response:
        try:
            return wsgi.call(self.flask, wsgi.environ(request, server, client))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - Flask answers its own bugs; one around it is alike
            return _failed(request, error)


def _needs_model(request: Request) -> bool:
    return request.endpoint is not None and request.endpoint.needs_model


def _failed(request: Request, error: BaseException) -> Response:
    asked_as = request_id.of(text(request.fields.get(b"x-request-id")))
    answer = Answer.of(internal_error(error, asked_as), None)
    return Response(answer.status, answer.headers(asked_as), answer.content)


def _in(loop: asyncio.AbstractEventLoop, step: Callable[[], object]) -> None:
    """Call `step` in the event loop, from any thread. Do nothing if the loop has ended."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(step)
