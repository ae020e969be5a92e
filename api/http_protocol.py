"""uvicorn's HTTP/1.1, with what it lacks: limits of time and size, the contract's refusals, a soft end."""

import sys
from asyncio import Transport
from typing import cast

from httptools import HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api import batch, predict
from api.lane import Lane
from mlflow_model.errors import Busy, RequestRefused, Unauthorized

# A request must be whole so long after its first byte, with a second more for each RATE bytes that came.
RECEIVE_SECONDS = 10.0
RATE = 256 * 1024
# A client that takes nothing of its answer for so long is gone.
SEND_SECONDS = 30.0
# Of a body that is refused already, and whose end is awaited so that the client hears why.
RECEIVE_LIMIT = 2 * batch.BODY_LIMIT
URL_LIMIT = 8 * 1024
HEAD_LIMIT = 64 * 1024
HEADERS_LIMIT = 100

_ANSWER = b"%b%b%bx-request-id: %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"


class _UpgradeOffered(Exception):
    def __init__(self, behind_the_head: int) -> None:
        self.behind_the_head = behind_the_head


class Protocol(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._waiting_since: float | None = self.loop.time()
        self._stuck_since: float | None = None
        self._received = self._arrived = 0
        self._is_whole = self._is_in_head = self._is_ending = False
        self._refused_with = 400
        self._direct_body: bytes | None = None
        self._held: list[bytes] = []
        self._default_headers: list[tuple[bytes, bytes]] = []
        self._default_lines = b""
        self._lane = cast(Lane, self.app)

    # ---- What arrives

    def data_received(self, data: bytes) -> None:
        self._is_whole = False
        self._arrived = len(data)
        try:
            super().data_received(data)
        except _UpgradeOffered as offered:
            self._go_on_without(offered, data)
        if self._is_whole:
            self._waiting_since = None
        else:
            self._count()

    def _count(self) -> None:
        """Of a request that is not whole yet."""
        if self._waiting_since is None:
            self._waiting_since, self._received = self.loop.time(), 0
        self._received += self._arrived
        if self._is_in_head and self._received > HEAD_LIMIT:
            self._refuse(431)
        elif self._received > RECEIVE_LIMIT:
            self._close()

    def _offers_upgrade(self) -> bool:
        """CONNECT looks like it, and is refused as a method."""
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def _unsupported_upgrade_warning(self) -> None:
        """Called where the parser has stopped behind a head that offers HTTP/2, as Java's HttpClient does."""
        if not self._offers_upgrade():
            self.cycle.keep_alive = False
            return
        stopped = sys.exception()
        assert isinstance(stopped, HttpParserUpgrade)  # noqa: S101 - uvicorn handles it when it calls this
        raise _UpgradeOffered(stopped.args[0])

    def _go_on_without(self, offered: "_UpgradeOffered", data: bytes) -> None:
        """Read the request as if nothing were offered. The parser itself would take its body for HTTP/2."""
        head = [b"%s %s HTTP/1.1\r\n" % (self.parser.get_method(), self.url)]
        head += [
            b"%s: %s\r\n" % header for header in self.headers if header[0] not in (b"upgrade", b"connection")
        ]
        self.parser = HttpRequestParser(self)
        self.data_received(b"".join([*head, b"\r\n", data[offered.behind_the_head :]]))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_whole, self._is_in_head = False, True

    def on_headers_complete(self) -> None:
        if self._offers_upgrade():
            return
        if status := self._head_refusal():
            self._refused_with = status
            raise ValueError("the head is refused")  # which reaches send_400_response
        self._is_in_head = False
        if self._is_direct():
            self._direct_body = b""
            return
        self.send_held()  # before the answer to this one
        super().on_headers_complete()
        if self._is_ending:
            self.cycle.keep_alive = False

    def _is_direct(self) -> bool:
        """Whether it is /predict at its plainest, whose answer takes less time than to make a task for it."""
        return (
            self.url == b"/predict"
            and self.parser.get_method() == b"POST"
            and not self.expect_100_continue
            and (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
            and not self.transport.is_closing()
        )

    def on_body(self, body: bytes) -> None:
        if self._direct_body is None:
            super().on_body(body)
        elif len(self._direct_body) <= predict.BODY_LIMIT:
            self._direct_body += body

    def _head_refusal(self) -> int | None:
        if len(self.url) > URL_LIMIT:
            return 414
        if len(self.headers) > HEADERS_LIMIT or (self._arrived > HEAD_LIMIT and self._is_head_too_large()):
            return 431
        return None if self.parser.get_http_version() in ("1.1", "1.0") else 505

    def _is_head_too_large(self) -> bool:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_LIMIT

    def on_message_complete(self) -> None:
        if self._offers_upgrade():
            return
        self._is_whole = True
        if self._direct_body is None:
            super().on_message_complete()
        else:
            self._answer(self._direct_body)

    def _answer(self, body: bytes) -> None:
        self._direct_body = None
        answer, asked_as = self._lane.decided(self.headers, body)
        more = b"" if answer.model is None else answer.model.head
        if answer.status == Unauthorized.status:
            more += b"www-authenticate: Bearer\r\n"
        if answer.status == Busy.status:
            more += b"retry-after: 1\r\n"
        keep_alive = self._may_be_kept()
        if not keep_alive:
            more += b"connection: close\r\n"
        content = answer.content
        head = (STATUS_LINE[answer.status], self._default_head(), more, asked_as.encode(), len(content))
        if not self._held:
            self._lane.outbox.hold(self)
        self._held.append(_ANSWER % (*head, content))
        if not keep_alive:
            self._close()

    def send_held(self) -> None:
        """Write the answers that wait in the outbox."""
        held, self._held = self._held, []
        if held and not self.transport.is_closing():
            self.transport.write(b"".join(held))

    def _close(self) -> None:
        self.send_held()
        self.transport.close()

    def _default_head(self) -> bytes:
        """What uvicorn adds to every answer, the date; it makes another list of it every second."""
        headers = self.server_state.default_headers
        if headers is not self._default_headers:
            self._default_headers = headers
            self._default_lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        return self._default_lines

    def _may_be_kept(self) -> bool:
        is_asked_for = self.parser.should_keep_alive() and self.parser.get_http_version() == "1.1"
        return is_asked_for and not self._is_ending

    def eof_received(self) -> bool:  # type: ignore[override]
        """A client that has said all may wait for its answer. Returns whether to keep the connection."""
        self.send_held()
        if self.is_idle:
            return False
        self._refuse(400)
        return not self.transport.is_closing()

    # ---- What is refused

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refused_with)

    def _refuse(self, status: int) -> None:
        """Say so and close; after the answers to whole requests, if some are under way."""
        self.send_held()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and not cycle.more_body:
            cycle.keep_alive = False
            return
        if not self.pipeline and (cycle is None or cycle.response_complete or not cycle.response_started):
            self._lane.service.tally.answered("no request", status, 0.0)
            self.transport.write(predict.raw_refusal(RequestRefused(status)))
        self.transport.close()

    # ---- How long it takes

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck_since = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stuck_since = None

    def keep_to_time(self, now: float) -> None:
        """Close the connection of a client that sends or takes too slowly."""
        waiting, stuck = self._waiting_since, self._stuck_since
        if stuck is not None and now - stuck > SEND_SECONDS:
            self.transport.abort()
        elif waiting is not None and now - waiting > RECEIVE_SECONDS + self._received / RATE:
            if self._received:
                self._refuse(408)
            self._close()

    # ---- How it ends

    def shutdown(self) -> None:
        """Answer what is under way or still comes, and close after that."""
        self._is_ending = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False

    @property
    def is_idle(self) -> bool:
        """Whether no request is being received or answered."""
        is_answered = self.cycle is None or self.cycle.response_complete
        return is_answered and not self._held and (self._waiting_since is None or not self._received)
