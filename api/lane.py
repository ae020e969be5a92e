"""Answers requests: POST /predict at once in the event loop, all others by Flask in threads.

No body comes near either before it is whole, so that a slow client holds no thread.
"""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from api import batch, predict, request_id, wsgi
from api.http_request import Request, text
from api.outbox import Outbox
from api.served import Model
from api.service import Answer, Service
from api.wsgi import Address, Response
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

_FLASK_THREADS = 10
_access_log = logging.getLogger("scoring_client.access")


class Room:
    """Bytes of bodies that may be in memory at once."""

    def __init__(self, free: int) -> None:
        self._free = free

    def take(self, size: int) -> bool:
        """Whether there was so much left, and it is taken."""
        if size > self._free:
            return False
        self._free -= size
        return True

    def give_back(self, size: int) -> None:
        self._free += size


class Lane:
    """Answers for one Service."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.outbox = Outbox()
        # Apart, so that nobody's many small bodies keep a batch out.
        self._rooms = {
            "/predict": Room(1024 * predict.BODY_LIMIT),
            "/predict/batch": Room(4 * batch.BODY_LIMIT),
        }
        self._threads = ThreadPoolExecutor(_FLASK_THREADS, "flask")

    @functools.cached_property
    def flask(self) -> "Flask":
        """Made when it is first asked for: a worker decides before it has imported Flask."""
        from api.routes import flask_app

        return flask_app(self.service)

    # ---- Before a body has come

    def admit(self, request: Request) -> None:
        """Take room for a body that is still to come. Raises ScoringError: the answer needs no body.

        Room is for all that the head announces, or for the most that is allowed where it announces nothing.
        """
        self.service.guard.check(request.path, text(request.fields.get(b"authorization")))
        length = request.limit if request.length is None else request.length
        if not request.is_for_a_decision:
            _ = self.service.served.model  # or the reason why there is none
            if length > request.limit:
                raise BodyTooLarge(request.limit)
        length = min(length, request.limit)
        if not self._rooms[request.path].take(length):
            raise TooManyBodies if request.is_for_a_decision else Busy
        request.reserved = length

    def let_go(self, request: Request) -> None:
        """The body is no longer in memory."""
        if request.reserved:
            self._rooms[request.path].give_back(request.reserved)
            request.reserved = 0

    def refused(self, request: Request, error: ScoringError) -> tuple[Answer, str]:
        """The answer to a request that was not admitted, and its id."""
        asked_as = request_id.of(text(request.fields.get(b"x-request-id")))
        status, content = predict.refusal(error)
        self.service.tally.answered(request.path, status, 0.0)
        if not request.is_for_a_decision:  # which is counted and not logged
            facts = {"method": "POST", "path": request.path, "status": status, "request_id": asked_as}
            _access_log.info("POST %s %s", request.path, status, extra={"facts": facts})
        return Answer(status, content, self._model_behind(error)), asked_as

    def _model_behind(self, error: ScoringError) -> Model | None:
        if isinstance(error, Unauthorized | Forbidden | ModelUnavailable):
            return None
        with contextlib.suppress(ModelUnavailable):
            return self.service.served.model
        return None

    # ---- When a request is whole

    def decided(self, fields: Mapping[bytes, bytes], body: bytes) -> tuple[Answer, str]:
        """The answer to POST /predict, and the request's id."""
        find = fields.get
        asked_as = request_id.of(text(find(b"x-request-id")))
        answer = self.service.predict(
            text(find(b"content-type")),
            text(find(b"content-encoding")),
            text(find(b"authorization")),
            body,
            asked_as,
        )
        return answer, asked_as

    def ask_flask(self, request: Request, server: Address, client: Address) -> "asyncio.Future[Response]":
        """The answer, as soon as a thread has it. Cancelled before one has begun, it costs nothing.

        The body's room is free when no thread holds it any more, whether somebody still waits or not.
        """
        loop = asyncio.get_running_loop()
        try:
            asked = self._threads.submit(self._by_flask, request, server, client)
        except RuntimeError as error:  # the system gives no thread more
            self.let_go(request)
            failed: asyncio.Future[Response] = loop.create_future()
            failed.set_result(_failed(request, error))
            return failed
        asked.add_done_callback(lambda _: _in(loop, functools.partial(self.let_go, request)))
        return asyncio.wrap_future(asked)

    def _by_flask(self, request: Request, server: Address, client: Address) -> Response:
        try:
            return wsgi.call(self.flask, wsgi.environ(request, server, client))
        except Exception as error:  # noqa: BLE001 - Flask answers its own bugs; one around it is answered like them
            return _failed(request, error)


def _failed(request: Request, error: Exception) -> Response:
    asked_as = request_id.of(text(request.fields.get(b"x-request-id")))
    status, content = predict.refusal(predict.internal_error(error, asked_as))
    return Response(status, [("content-type", "application/json"), (request_id.HEADER, asked_as)], content)


def _in(loop: asyncio.AbstractEventLoop, step: Callable[[], object]) -> None:
    """From any thread. A loop that has ended needs no step more."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(step)
