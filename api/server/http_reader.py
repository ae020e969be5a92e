"""Reads requests from the bytes of a connection, with httptools, within limits of size."""

from collections.abc import Callable

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser

from api.paths import BATCH
from api.server.http_request import Request
from mlflow_model.errors import RequestRefused

# Bytes fed at once. Limits are checked after each slice, so they can be exceeded by so much.
SLICE = 4096
BODY_SLICE = 64 * 1024

URL_LIMIT = 8 * 1024
HEAD_LIMIT = 64 * 1024
HEADERS_LIMIT = 100
# The head is measured once so many bytes were fed after the slice that it began in.
_MEASURED = HEAD_LIMIT - SLICE
# Bytes of a request as it is sent, with the framing of its chunks and the dropped part of its body.
REQUEST_LIMIT = 2 * BATCH.body_limit


class Reader:
    """Hands over each request when it is whole.

    The head is frozen where it ends, because httptools passes trailer fields after the body to the same
    callback. Some bytes reach no callback (chunk extensions, a line without an end); they are bounded too.
    """

    def __init__(self, take: Callable[[Request], None]) -> None:
        self._take = take
        self._parser = HttpRequestParser(self)
        self.request: Request | None = None  # its head is complete, its body is not
        self.is_between_requests = True
        self.has_read_the_last = False  # the answer to the last request ends the connection
        self.received = 0  # bytes of this request, in whole slices
        self._unheard = 0  # bytes since a part of the head or the body was complete
        self._target = b""
        self._fields: dict[bytes, bytes] = {}
        self._headers = self._trailers = 0

    @property
    def slice(self) -> int:
        """How much to feed next: larger slices of a body whose length is known, up to its end."""
        request = self.request
        if request is None or request.length is None:
            return SLICE
        return max(SLICE, min(BODY_SLICE, request.length - request.size))

    def feed(self, data: bytes | memoryview) -> None:
        """Read a slice. Raises ScoringError if it is no request: then nothing after it can be read either."""
        self._unheard += len(data)
        again = b""
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as stopped:
            if not self.has_read_the_last:  # as it is after CONNECT
                again = self._head_without_upgrade() + bytes(data[stopped.args[0] :])
        except HttpParserError as error:
            if not self.has_read_the_last:
                raise _cause(error) from error
        if again:
            self.feed(again)
        if not self.is_between_requests or self._unheard:
            self.received += len(data)
            self._check_size()

    def _check_size(self) -> None:
        if self._unheard > HEAD_LIMIT:
            raise RequestRefused(431 if self._is_in_fields() else 400)
        if self._headers > HEADERS_LIMIT:
            raise RequestRefused(431)
        if self.received > REQUEST_LIMIT:
            raise RequestRefused(413)

    def _is_in_fields(self) -> bool:
        return not self.is_between_requests and (self.request is None or self._trailers > 0)

    # ---- What httptools calls

    def on_message_begin(self) -> None:
        """Called for each request in a slice, even behind the last one if it was HTTP/1.0 and keep-alive."""
        if self.has_read_the_last:
            raise RequestRefused(400)
        self.is_between_requests = False
        self.received = self._unheard = self._headers = self._trailers = 0
        self._target = b""
        self._fields = {}

    def on_url(self, url: bytes) -> None:
        """Called for each part of it that a slice brings."""
        self._target += url
        if len(self._target) > URL_LIMIT:
            raise RequestRefused(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header. Trailer fields come here too: they count against the limits and are dropped."""
        if self.request is None:
            self._headers += 1
            name = name.lower()
            self._fields[name] = self._joined(name, value) if name in self._fields else value
            return
        self._trailers += 1
        if self._headers + self._trailers > HEADERS_LIMIT:
            raise RequestRefused(431)

    def _joined(self, name: bytes, value: bytes) -> bytes:
        """Join fields of one name, as HTTP allows. Raises RequestRefused for a second Host.

        A comma may belong to a client's reference, so two of these are joined by what none may hold.
        """
        if name == b"host":
            raise RequestRefused(400)
        between = b"\t" if name == b"x-client-reference" else b","
        return self._fields[name] + between + value

    def on_headers_complete(self) -> None:
        parser = self._parser
        offers_upgrade = parser.should_upgrade()
        if offers_upgrade and parser.get_method() != b"CONNECT":  # which looks like it
            return
        if self._headers > HEADERS_LIMIT or (self._unheard > _MEASURED and self._is_too_large()):
            raise RequestRefused(431)
        self.request = Request(
            parser.get_method(),
            self._target,
            parser.get_http_version(),
            self._fields,
            parser.should_keep_alive() and not offers_upgrade,
        )
        self._unheard = 0

    def on_body(self, body: bytes) -> None:
        """Called for each part that a slice brings, and for each chunk."""
        request = self.request
        assert request is not None  # noqa: S101 - its head is complete
        self._unheard = 0
        if not request.size and len(body) <= request.limit:  # the whole body, as a rule
            request.body, request.size = body, len(body)
        else:
            request.add(body)

    def on_message_complete(self) -> None:
        """The request is whole, or its head offers an upgrade: then read it again without the offer."""
        request, self.request = self.request, None
        if request is None:
            return
        self.is_between_requests = True
        self.has_read_the_last = not request.keep_alive
        self._unheard = 0
        self._take(request)

    # ---- Heads

    def _is_too_large(self) -> bool:
        fields = sum(len(name) + len(value) for name, value in self._fields.items())
        return len(self._target) + fields > HEAD_LIMIT

    def _head_without_upgrade(self) -> bytes:
        """The head without the upgrade, for a new parser: this one would take the body for the offered
        protocol.

        Java's HttpClient offers HTTP/2 in this way, and is answered in HTTP/1.1.
        """
        former = self._parser
        head = [b"%s %s HTTP/%s" % (former.get_method(), self._target, former.get_http_version().encode())]
        fields = self._fields.items()
        head += [b"%s: %s" % field for field in fields if field[0] not in (b"upgrade", b"connection")]
        if not former.should_keep_alive():
            head.append(b"connection: close")
        self._parser = HttpRequestParser(self)
        return b"\r\n".join([*head, b"", b""])


def _cause(error: HttpParserError) -> BaseException:
    """The error that a callback raised; otherwise that the bytes are no HTTP."""
    if isinstance(error, HttpParserCallbackError) and error.__context__ is not None:
        return error.__context__
    return RequestRefused(400)
