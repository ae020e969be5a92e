"""One connection of HTTP/1.1: requests in, answers out in the same order, within limits of time and depth."""

import asyncio
import functools
import time
from collections import deque
from collections.abc import MutableSet
from typing import cast

from api.deciding.answer import internal_error
from api.server import http_answer
from api.server.http_deadlines import IDLE_SECONDS, Deadlines, Doing, Late
from api.server.http_reader import SLICE, Reader
from api.server.http_request import Request
from api.server.lane import Lane
from api.server.wsgi import Address, Response
from mlflow_model.errors import RequestRefused, ScoringError

# So many requests and answers of one connection may wait, and so many bytes of the requests' heads. While
# there are as many, nothing more is read from it.
DEPTH, WEIGHT = 64, 64 * 1024
# One connection is read for so long, or so many bytes, before the others have their turn.
TURN_SECONDS = 0.001
TURN_BYTES = 64 * 1024
# A client that is refused while it sends may go on for so many bytes, and for LINGER_SECONDS.
LINGER_BYTES = 1024 * 1024


class Connection(asyncio.Protocol):
    """One client's connection. It is in `peers` as long as it exists."""

    def __init__(self, lane: Lane, peers: "MutableSet[Connection]") -> None:
        self._lane, self._peers = lane, peers
        self._reader = Reader(self._take)
        self._unread: bytes | memoryview = b""
        self._waiting: deque[Request] = deque()
        self._weight = 0  # of those that wait
        self._asked: asyncio.Future[Response] | None = None  # Flask, for the request before those that wait
        self._held: list[bytes] = []  # answers, until the outbox lets them leave
        self._sealed = 0  # of these, the first so many will leave when the outbox says so
        self._refusal: ScoringError | None = None  # the last answer, to what is no request
        self._is_at_eof = False  # the client will send nothing more
        self._hears_no_more = False  # nothing more will be read
        self._is_over = False  # the last answer has been given
        self._is_ending = False  # the whole service ends
        self._takes_nothing = False  # answers pile up
        self._deadlines = Deadlines()
        self._dropped = 0
        self._is_paused = False
        self._reads_on = False  # in the next turn

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._peers.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._peers.discard(self)
        self._is_over = True
        self._unread = b""
        if self._asked is not None:
            self._asked.cancel()
        for request in (self._reader.request, *self._waiting):
            if request is not None:
                request.drop_body()  # at once: garbage is collected much later
                self._lane.let_go(request)
        self._waiting.clear()

    # ---- What arrives

    def data_received(self, data: bytes) -> None:
        if self._hears_no_more:
            self._drop(data)
            return
        self._unread = memoryview(bytes(self._unread) + data) if self._unread else data
        self._read()
        if len(data) >= TURN_BYTES and not (self._is_paused or self._hears_no_more):
            self._read_on_later()
            self._pause_or_resume()

    def eof_received(self) -> bool:
        """The client will send no more, but may wait for answers. Return whether to keep the connection."""
        self._is_at_eof = True
        if self._has_ended():
            return False
        if not self._is_over:
            self._read()
        return True

    def _read(self) -> None:
        """Read slice by slice, until too much waits for an answer, or it is the turn of other connections."""
        try:
            reader = self._reader
            until = 0.0
            while self._unread and self._has_room() and not self._takes_nothing:
                piece = self._unread
                if len(piece) > SLICE:
                    now = time.perf_counter()
                    until = until or now + TURN_SECONDS
                    if now > until:
                        self._read_on_later()
                        break
                    piece, size = memoryview(piece), reader.slice
                    self._unread = piece[size:]
                    piece = piece[:size]
                else:
                    self._unread = b""
                try:
                    reader.feed(piece)
                except ScoringError as error:
                    self._refuse(error)
                is_answered = reader.is_between_requests and not (self._waiting or self._hears_no_more)
                if not is_answered or reader.has_read_the_last:
                    self._follow_up()
            if self._is_at_eof and not self._unread and not self._hears_no_more:
                self._meet_the_end()
            if self._is_paused or self._unread or self._hears_no_more:
                self._pause_or_resume()
        except Exception as error:  # noqa: BLE001 - whatever it is
            self._fail(error)

    def _has_room(self) -> bool:
        return len(self._waiting) + len(self._held) < DEPTH and self._weight < WEIGHT

    def _read_on_later(self) -> None:
        """Read on in the next turn of the event loop, after every other connection.

        libuv would read one connection up to 32 times before it looks at the next.
        """
        if not self._reads_on:
            self._reads_on = True
            asyncio.get_running_loop().call_soon(self._read_on)

    def _read_on(self) -> None:
        self._reads_on = False
        if not self._is_over:
            self._read()

    def _follow_up(self) -> None:
        """Handle a slice that did not end with an answered request, as most slices do."""
        request = self._reader.request
        if self._reader.has_read_the_last:
            self._hear_no_more()
        elif request is not None and not request.is_met and not self._hears_no_more:
            self._meet(request)
        self._go_on()

    def _take(self, request: Request) -> None:
        """Take a whole request from the reader."""
        self._deadlines.since = None
        if request.is_queued:  # it was answered, or will be, without its body
            return
        at_once = request.is_for_a_decision and not self._waiting and self._asked is None
        if at_once and not self._is_ending:
            self._decide(request, request.keep_alive)
        else:
            self._queue(request)

    def _queue(self, request: Request) -> None:
        request.is_queued = True
        self._waiting.append(request)
        self._weight += request.weight

    def _meet(self, request: Request) -> None:
        """Once its head has come: take room for the body, or answer without it."""
        request.is_met = True
        if request.limit:
            try:
                self._lane.admit(request)
                return
            except ScoringError as error:
                request.refusal = error
        elif not request.expects_continue:
            return
        request.drop_body()
        if request.expects_continue:
            request.keep_alive = False  # its body may come or not
        self._queue(request)

    def _meet_the_end(self) -> None:
        """Handle the end of what the client sends."""
        if self._reader.is_between_requests:
            self._hear_no_more()
        else:
            self._refuse(RequestRefused(400))
        self._go_on()

    def _hear_no_more(self) -> None:
        self._hears_no_more = True
        self._unread = b""

    def _pause_or_resume(self) -> None:
        if self._transport.is_closing():
            return
        waits = self._unread or self._reads_on or self._hears_no_more
        self._is_paused = bool(waits) and not self._is_over
        if self._is_paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # ---- What is answered

    def _go_on(self) -> None:
        """Answer the requests that wait, in their order. Flask works on one of them at a time."""
        while self._waiting and self._asked is None and not self._takes_nothing and not self._is_over:
            request = self._waiting.popleft()
            self._weight -= request.weight
            self._answer(request)
        if self._waiting or self._asked is not None or self._is_over:
            return
        if self._hears_no_more:
            self._say_the_last()
        elif self._reader.request is not None:
            self._tell_to_continue(self._reader.request)

    def _tell_to_continue(self, request: Request) -> None:
        """Send « 100 Continue » if the client waits for it, and its body will be read."""
        is_told = request.is_told_to_continue or request.is_queued or request.size > 0
        if not is_told and request.expects_continue:
            request.is_told_to_continue = True
            self._hold(http_answer.CONTINUE)

    def _answer(self, request: Request) -> None:
        if request.refusal is not None:
            answer, asked_as = self._lane.refused(request, request.refusal)
            is_kept = self._is_kept(request)
            self._send(http_answer.of(answer, asked_as, is_kept), is_kept)
        elif request.is_for_a_decision:
            self._decide(request, self._is_kept(request))
        else:
            self._asked = self._lane.ask_flask(request, self._address("sockname"), self._address("peername"))
            self._asked.add_done_callback(functools.partial(self._flask_has_answered, request))

    def _address(self, whose: str) -> Address:
        """The host and port of one side. Empty for a client that has gone already."""
        host, port = self._transport.get_extra_info(whose, ("", 0))[:2]
        return host, port

    def _decide(self, request: Request, is_kept: bool) -> None:
        answer, asked_as = self._lane.decide(request.fields, bytes(request.body))
        if request.reserved:
            self._lane.let_go(request)
        self._send(http_answer.of(answer, asked_as, is_kept), is_kept)

    def _flask_has_answered(self, request: Request, asked: "asyncio.Future[Response]") -> None:
        self._asked = None
        if self._is_over:
            return
        try:
            self._pass_on(request, asked)
        except Exception as error:  # noqa: BLE001 - whatever it is
            self._fail(error)

    def _pass_on(self, request: Request, asked: "asyncio.Future[Response]") -> None:
        response, is_kept = asked.result(), self._is_kept(request)
        *head, last = http_answer.pieces(*response, is_kept)
        for piece in head:
            self._hold(piece)
        self._send(last, is_kept)
        self._go_on()
        self._read()

    def _is_kept(self, request: Request) -> bool:
        """Whether the connection stays open after the answer to this request."""
        if not (self._is_ending or self._hears_no_more):
            return request.keep_alive
        more_comes = self._waiting or self._unread or not self._reader.is_between_requests
        return request.keep_alive and bool(more_comes)

    def _send(self, answer: bytes, is_kept: bool) -> None:
        if not self._held or len(self._held) == self._sealed:
            self._lane.outbox.hold(self)
        self._held.append(answer)
        self._deadlines.since, self._deadlines.idle_seconds = None, IDLE_SECONDS
        if not is_kept:
            self._end()

    def _hold(self, data: bytes) -> None:
        if len(self._held) == self._sealed:
            self._lane.outbox.hold(self)
        self._held.append(data)

    def seal(self) -> int:
        """Return how many held answers the outbox has not been told of yet."""
        new, self._sealed = len(self._held) - self._sealed, len(self._held)
        return new

    def send_held(self, count: int | None = None) -> None:
        """Write the held answers, or the first so many. Read on if they were many. Raises nothing."""
        if count is None:
            held, self._held = self._held, []
        else:
            held, self._held = self._held[:count], self._held[count:]
            self._sealed -= count
        try:
            if held and not self._transport.is_closing():
                self._transport.writelines(held)
            if self._is_over and held and not self._held:
                self._leave()
        except Exception as error:  # noqa: BLE001 - whatever it is
            self._fail(error)
        if self._unread:
            self._read()

    def refuse_held(self, count: int) -> None:
        """Write refusals in the place of the first so many held answers that tell a decision."""
        self._held[:count] = map(http_answer.unless_recorded, self._held[:count])
        self.send_held(count)

    # ---- How it ends

    def _refuse(self, error: ScoringError) -> None:
        """Read nothing more. The refusal follows the answers to whole requests."""
        self._hear_no_more()
        if self._reader.request is None or not self._reader.request.is_queued:
            self._refusal = error

    def _say_the_last(self) -> None:
        if self._refusal is not None:
            self._lane.service.tally.answered("no request", self._refusal.status, 0.0)
            self._hold(http_answer.of_no_request(self._refusal))
        self._end()

    def _end(self) -> None:
        """Close after the last answer. Give a client that is still sending time to read it."""
        self._hear_no_more()
        self._is_over, self._deadlines.since = True, None
        if not self._held:
            self._leave()
        elif not self._lane.outbox.has_barrier:
            self.send_held()

    def _leave(self) -> None:
        is_sending = self._refusal is not None or not self._reader.is_between_requests
        if self._is_at_eof or not is_sending:
            self._transport.close()
        elif not self._transport.is_closing():
            self._transport.write_eof()

    def _fail(self, error: Exception) -> None:
        """After a bug of ours, end this connection, and no other one."""
        internal_error(error, None)
        self._hear_no_more()
        self._is_over, self._held, self._sealed = True, [], 0
        self._transport.abort()

    def _drop(self, data: bytes) -> None:
        """Discard what comes after the last answer was made, up to a limit."""
        self._dropped += len(data) if self._is_over else 0
        if self._dropped > LINGER_BYTES:
            self._transport.abort()

    def end(self) -> None:
        """Answer what is under way or still comes, and close after that."""
        self._is_ending = True

    def close(self) -> None:
        self._transport.close()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being received or answered."""
        return self._has_ended() or (self._reader.is_between_requests and not self._is_answering())

    def _has_ended(self) -> bool:
        return self._is_over and not self._held

    def _is_answering(self) -> bool:
        return bool(self._waiting or self._held or self._unread) or self._asked is not None

    # ---- How long it takes

    def pause_writing(self) -> None:
        """Called where the client takes its answers more slowly than they are made."""
        self._takes_nothing = True

    def resume_writing(self) -> None:
        self._takes_nothing = False
        try:
            if not self._is_over:
                self._go_on()
        except Exception as error:  # noqa: BLE001 - whatever it is
            self._fail(error)
        if not self._is_over:
            self._read()

    def keep_to_time(self, now: float) -> None:
        """Called twice a second: close the connection if the client is idle, or sends or takes too slowly.

        Raises nothing.
        """
        try:
            self._keep_to_time(now)
        except Exception as error:  # noqa: BLE001 - whatever it is
            self._fail(error)

    def _keep_to_time(self, now: float) -> None:
        unsent = self._transport.get_write_buffer_size()
        if self._deadlines.is_stuck(now, unsent, piles_up=self._takes_nothing):
            self._transport.abort()
            return
        late = self._deadlines.missed(now, self._doing(), self._reader.received)
        if late is Late.ABORT:
            self._transport.abort()
        elif late is Late.CLOSE:
            self._transport.close()
        elif late is Late.REFUSE:
            self._refuse(RequestRefused(408))
            self._go_on()

    def _doing(self) -> Doing:
        if self._has_ended():
            return Doing.OVER
        if self._sealed:
            return Doing.KEPT_BACK
        if self._is_answering():
            return Doing.ANSWERING
        return Doing.IDLE if self._reader.is_between_requests else Doing.RECEIVING
