"""uvicorn's HTTP/1.1, with what it lacks: limits of time and size, the contract's refusals, a soft end."""

from asyncio import Transport

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api import predict
from mlflow_model.errors import RequestRefused

# A request must be there this long after its first byte, with a second more for each RATE bytes that came.
RECEIVE_SECONDS = 10.0
RATE = 256 * 1024
HEAD_LIMIT = 64 * 1024
# A client that takes nothing of its answer for so long is gone.
SEND_SECONDS = 30.0


class Protocol(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._waiting_since: float | None = self.loop.time()
        self._stuck_since: float | None = None
        self._received = 0
        self._is_whole = self._is_in_head = self._is_ending = False

    def data_received(self, data: bytes) -> None:
        self._is_whole = False
        super().data_received(data)
        if self._is_whole:
            self._waiting_since = None
        else:
            self._count(len(data))

    def _count(self, arrived: int) -> None:
        """Of a request that is not whole yet."""
        if self._waiting_since is None:
            self._waiting_since, self._received = self.loop.time(), 0
        self._received += arrived
        if self._is_in_head and self._received > HEAD_LIMIT:
            self._refuse(431)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_whole, self._is_in_head = False, True

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._is_in_head = False
        if self._is_ending:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._is_whole = True

    def send_400_response(self, msg: str) -> None:
        self._refuse(400)

    def _refuse(self, status: int) -> None:
        """What never became a request. Not while an answer is under way, into which this would be written."""
        if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            self.transport.write(predict.raw_refusal(RequestRefused(status)))
        self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck_since = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stuck_since = None

    def shutdown(self) -> None:
        """Answer what is under way or still comes, and close after that."""
        self._is_ending = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False

    @property
    def is_idle(self) -> bool:
        """Whether no request is being received or answered."""
        answered = self.cycle is None or self.cycle.response_complete
        return answered and not self._received_in_part

    @property
    def _received_in_part(self) -> bool:
        return self._waiting_since is not None and self._received > 0

    def keep_to_time(self, now: float) -> None:
        """Close the connection of a client that sends or takes too slowly."""
        waiting, stuck = self._waiting_since, self._stuck_since
        if stuck is not None and now - stuck > SEND_SECONDS:
            self.transport.abort()
        elif waiting is not None and now - waiting > RECEIVE_SECONDS + self._received / RATE:
            self._time_out()

    def _time_out(self) -> None:
        if self._received_in_part:
            self._refuse(408)
        self.transport.close()
