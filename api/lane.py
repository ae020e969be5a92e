"""The ASGI application: /predict goes straight to the function that decides, all else to Flask in threads.

Both read a body here, in the event loop, so that a slow client holds no thread.
"""

import asyncio
import functools
from collections.abc import Sequence

from a2wsgi import WSGIMiddleware
from a2wsgi.asgi_typing import HTTPScope, Receive, ReceiveEvent, Scope, Send, SendEvent

from api import batch, predict, request_id
from api.outbox import Outbox
from api.service import Answer, Service
from mlflow_model.errors import Busy, Forbidden, Unauthorized

# Bytes of bodies for Flask that may be in memory at once; beyond, a client is asked to come again.
HELD_AT_ONCE = 4 * batch.BODY_LIMIT
_FLASK_THREADS = 10
_JSON = (b"content-type", b"application/json")

Headers = Sequence[tuple[bytes, bytes]]


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


class Lane:
    """Answers for one Service."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.outbox = Outbox()
        self._held = 0

    @functools.cached_property
    def flask(self) -> WSGIMiddleware:
        """Made when it is first asked for: a worker decides before it has imported Flask."""
        from api.routes import flask_app

        return WSGIMiddleware(flask_app(self.service), workers=_FLASK_THREADS)  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"  # noqa: S101 - the server offers neither WebSocket nor lifespan
        try:
            if scope["path"] == "/predict" and scope["method"] == "POST":
                await self._predict(scope, receive, send)
            else:
                await self._others(scope, receive, send)
        except ClientGone:
            return

    async def _predict(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        body = message["body"]
        if message.get("more_body"):
            body = await _whole(body, receive)
        answer, asked_as = self.decided(list(scope["headers"]), body)
        head = [(name.lower().encode(), value.encode()) for name, value in answer.headers(asked_as)]
        head += [_JSON, _length(answer.content)]
        await send({"type": "http.response.start", "status": answer.status, "headers": head})
        await send({"type": "http.response.body", "body": answer.content})

    def decided(self, headers: Headers, body: bytes) -> tuple[Answer, str]:
        """The answer to POST /predict, and the request's id."""
        by_name = dict(headers)
        find = (by_name if len(by_name) == len(headers) else _joined(headers)).get
        asked_as = request_id.of(_text(find(b"x-request-id")))
        answer = self.service.predict(
            _text(find(b"content-type")),
            _text(find(b"content-encoding")),
            _text(find(b"authorization")),
            body,
            asked_as,
        )
        return answer, asked_as

    async def _others(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """Flask hears of a request when it is whole, and has ended before a byte of its answer is sent."""
        body = bytearray()
        answer: list[SendEvent] = []
        try:
            if self._is_let_in(scope):  # else Flask says why not, and needs no body for it
                await self._gather(body, receive, _limit(scope["path"]))
            flask = await asyncio.to_thread(lambda: self.flask)
            await flask(_with_length(scope, len(body)), _readable(bytes(body)), _kept_in(answer))
        except Busy as busy:
            answer = self._busy(busy, scope)
        finally:
            self._held -= len(body)
        for event in answer:
            await send(event)

    def _is_let_in(self, scope: HTTPScope) -> bool:
        authorization = _joined(list(scope["headers"])).get(b"authorization")
        try:
            self.service.guard.check(scope["path"], _text(authorization))
        except (Unauthorized, Forbidden):
            return False
        return True

    def _busy(self, busy: Busy, scope: HTTPScope) -> list[SendEvent]:
        status, content = predict.refusal(busy)
        self.service.tally.answered("/predict/batch", status, 0.0)  # no other path takes bodies of that size
        asked_as = request_id.of(_text(_joined(list(scope["headers"])).get(b"x-request-id")))
        headers = [_JSON, _length(content), (b"retry-after", b"1"), (b"x-request-id", asked_as.encode())]
        return [
            {"type": "http.response.start", "status": status, "headers": headers},
            {"type": "http.response.body", "body": content},
        ]

    async def _gather(self, body: bytearray, receive: Receive, limit: int) -> None:
        """One byte above the limit is enough for Flask to refuse the body. Raises Busy."""
        more = True
        while more and len(body) <= limit:
            message = await receive()
            if message["type"] != "http.request":
                raise ClientGone
            chunk = message["body"][: limit + 1 - len(body)]
            if self._held + len(chunk) > HELD_AT_ONCE:
                raise Busy
            body += chunk
            self._held += len(chunk)
            more = message.get("more_body", False)


async def _whole(body: bytes, receive: Receive) -> bytes:
    """The rest of a body for /predict, as far as it takes to see that it is too large."""
    more = True
    while more and len(body) <= predict.BODY_LIMIT:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        body += message["body"]
        more = message.get("more_body", False)
    return body


def _joined(headers: Headers) -> dict[bytes, bytes]:
    """As a WSGI server does: several of the same name are one, with commas."""
    by_name: dict[bytes, bytes] = {}
    for name, value in headers:
        by_name[name] = value if name not in by_name else by_name[name] + b"," + value
    return by_name


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _length(content: bytes) -> tuple[bytes, bytes]:
    return b"content-length", b"%d" % len(content)


def _limit(path: str) -> int:
    return batch.BODY_LIMIT if path == "/predict/batch" else predict.BODY_LIMIT


def _with_length(scope: HTTPScope, length: int) -> HTTPScope:
    """The request as if its body had come in one piece: Flask would not read one of unknown length."""
    framing = (b"content-length", b"transfer-encoding")
    headers = [header for header in scope["headers"] if header[0] not in framing]
    if len(headers) == len(list(scope["headers"])):
        return scope
    return {**scope, "headers": [*headers, (b"content-length", b"%d" % length)]}


def _readable(body: bytes) -> Receive:
    async def receive() -> ReceiveEvent:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _kept_in(answer: list[SendEvent]) -> Send:
    async def send(event: SendEvent) -> None:
        answer.append(event)

    return send
