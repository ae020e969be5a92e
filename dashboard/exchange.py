"""Asks one question over HTTP and reads one answer, within one deadline and one size. It follows no redirect.

A client's values go to the address that the operator gave, and to no other.
"""

import http.client
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Timer
from urllib.parse import urlsplit


class NoAnswer(Exception):
    """`may_have_arrived`: whether the service may have got the question, and done what it asks for."""

    def __init__(self, *, may_have_arrived: bool) -> None:
        super().__init__()
        self.may_have_arrived = may_have_arrived


class NobodyThere(NoAnswer):
    """No connection, or it broke."""


class TooSlow(NoAnswer):
    """The whole answer was not there in time."""


class NoHttp(NoAnswer):
    """What answers does not speak HTTP, or does not end."""


@dataclass(frozen=True)
class Answer:
    """`headers`: by their names in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Question:
    """`path`: with its query. `headers`: of ASCII alone."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None = None


def exchange(url: str, question: Question, seconds: float, most_bytes: int) -> Answer:
    """`url`: http or https. `seconds`: for all of it, from the connection on. Raises NoAnswer."""
    until = time.monotonic() + seconds
    try:
        connection = _connection(url, seconds)
        connected = _connected(connection, until)
    except TimeoutError as error:
        raise TooSlow(may_have_arrived=False) from error
    except (OSError, ValueError, http.client.InvalidURL) as error:
        raise NobodyThere(may_have_arrived=False) from error
    with closing(connected), _ended_after(connected, until - time.monotonic()) as is_late:
        try:
            connection.sock = _encrypted(connection, connected)
        except OSError as error:
            slow = is_late.is_set() or isinstance(error, TimeoutError)
            raise (TooSlow if slow else NobodyThere)(may_have_arrived=False) from error
        try:
            with closing(connection):
                answer = _answered(connection, urlsplit(url).path.rstrip("/"), question, most_bytes)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise _reason(error, is_late=is_late.is_set()) from error
        if is_late.is_set():  # a body without a length seems to end where it was cut
            raise TooSlow(may_have_arrived=True)
        return answer


def _connection(url: str, seconds: float) -> http.client.HTTPConnection:
    """Raises ValueError."""
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError(url)
    is_encrypted = address.scheme == "https"
    kind = http.client.HTTPSConnection if is_encrypted else http.client.HTTPConnection
    return kind(address.hostname, address.port, timeout=seconds)


def _connected(connection: http.client.HTTPConnection, until: float) -> socket.socket:
    """To the first of its addresses that answers. Raises OSError."""
    problem = OSError("no address")
    for *_, place in socket.getaddrinfo(connection.host, connection.port, type=socket.SOCK_STREAM):
        left = max(until - time.monotonic(), 0.001)
        try:
            return socket.create_connection((str(place[0]), connection.port), left)
        except OSError as error:
            problem = error
    raise problem


def _encrypted(connection: http.client.HTTPConnection, connected: socket.socket) -> socket.socket:
    """Another socket of the same connection, in TLS for https. Raises OSError."""
    if not isinstance(connection, http.client.HTTPSConnection):
        return connected.dup()
    connected.getpeername()  # raises if the peer has gone: wrap_socket would, too, and leave a socket open
    return ssl.create_default_context().wrap_socket(connected.dup(), server_hostname=connection.host)


@contextmanager
def _ended_after(connected: socket.socket, seconds: float) -> Iterator[Event]:
    """After these seconds whoever waits for the socket waits no more, and the event is set. A socket's own
    timeout begins anew with each byte."""
    is_late = Event()

    def end() -> None:
        is_late.set()
        with suppress(OSError):
            socket.socket.shutdown(connected, socket.SHUT_RDWR)  # of TLS too, whatever its state

    timer = Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield is_late
    finally:
        timer.cancel()


def _answered(
    connection: http.client.HTTPConnection, prefix: str, question: Question, most_bytes: int
) -> Answer:
    # Whoever refuses a long body may say so and hang up before the end of it.
    with suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
        connection.request(question.method, prefix + question.path, question.body, dict(question.headers))
    with closing(connection.getresponse()) as response:
        body = response.read(most_bytes + 1)
        left = response.length
    if len(body) > most_bytes:
        raise http.client.HTTPException("endless")
    if left:
        raise http.client.IncompleteRead(body, left)
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)


def _reason(error: Exception, *, is_late: bool) -> NoAnswer:
    if is_late or isinstance(error, TimeoutError):
        return TooSlow(may_have_arrived=True)
    is_of_tls = isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError)
    is_broken = isinstance(error, OSError | http.client.IncompleteRead) and not is_of_tls
    return (NobodyThere if is_broken else NoHttp)(may_have_arrived=True)
