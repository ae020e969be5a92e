"""Requests that a service must bear, at Flask and at a socket: the same answer, and no trace of a value."""

import re
import socket
import struct
import sys
from collections.abc import Sequence

import pytest

from tests.hostile_requests import (
    COMPRESSED,
    GOOD,
    LIMIT,
    MALFORMED,
    NOT_JSON,
    REFUSED,
    REQUESTS,
    SAME,
    TOO_LARGE,
    UNKNOWN,
    said,
)
from tests.servers import JSON, ROOT, Answer, Door, FlaskDoor, SocketDoor

pytest_plugins = ["tests.api_support"]


LEAKS = re.compile(r"98765|DUPONT", re.IGNORECASE)
INSIDES = re.compile(f"Traceback|site-packages|\\.py\\b|{re.escape(str(ROOT))}|{re.escape(sys.prefix)}")


@pytest.fixture(scope="module")
def usual(flask_door: FlaskDoor) -> Answer:
    """What the documented request is answered."""
    return flask_door.send("POST", "/predict", GOOD, JSON)


@pytest.mark.parametrize("name", REQUESTS)
def test_both_doors_answer_alike_by_the_contract_and_without_a_trace(
    name: str, flask_door: FlaskDoor, socket_door: SocketDoor, usual: Answer
) -> None:
    sent, doors = REQUESTS[name], (flask_door, socket_door)
    before = len(socket_door.said)

    answers = [door.send(sent.method, sent.path, sent.body, sent.headers) for door in doors]

    for answer in answers:
        assert answer.status == sent.status
        assert said(answer, usual).startswith(sent.sentence)
        assert answer.headers["Content-Type"] == "application/json"
    assert answers[0].body == answers[1].body
    assert_nothing_shown(answers)
    assert_unharmed(doors, usual)
    assert_nothing_logged(socket_door.said[before:])


def assert_nothing_shown(answers: Sequence[Answer]) -> None:
    """No value of the request, and nothing of the inside."""
    for answer in answers:
        shown = answer.body.decode() + str(answer.headers)
        assert LEAKS.search(shown) is None
        assert INSIDES.search(shown) is None


def assert_unharmed(doors: Sequence[Door], usual: Answer) -> None:
    """The next good request is answered as before."""
    assert usual.status == 200
    assert [door.send("POST", "/predict", GOOD, JSON).body for door in doors] == [usual.body] * len(doors)


def assert_nothing_logged(logged: str) -> None:
    assert LEAKS.search(logged) is None
    assert "Traceback" not in logged


# ---- What only a socket can be sent


def post(headers: bytes, body: bytes, line: bytes = b"POST /predict HTTP/1.1") -> bytes:
    return line + b"\r\nHost: x\r\nContent-Type: application/json\r\n" + headers + b"\r\n\r\n" + body


def chunks(body: bytes, size: int) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


LENGTH = b"Content-Length: %d" % len(GOOD)
CHUNKED = b"Transfer-Encoding: chunked"
TYPE = b"Content-Type: application/json\r\n"

BYTES: dict[str, tuple[int, str, bytes]] = {
    "one chunk": (200, SAME, post(CHUNKED, chunks(GOOD, LIMIT))),
    "many chunks": (200, SAME, post(CHUNKED, chunks(GOOD, 7))),
    "chunks up to the limit": (200, SAME, post(CHUNKED, chunks(GOOD.ljust(LIMIT), 4096))),
    "chunks over the limit": (413, TOO_LARGE, post(CHUNKED, chunks(GOOD.ljust(LIMIT + 1), 4096))),
    "chunks of truncated JSON": (400, MALFORMED, post(CHUNKED, chunks(GOOD[:-1], 100))),
    "gzip, then chunks": (501, REFUSED, post(b"Transfer-Encoding: gzip, chunked", chunks(GOOD, 100))),
    "trailer fields": (200, SAME, post(CHUNKED, chunks(GOOD, 100)[:-2] + b"X-Client: DUPONT\r\n\r\n")),
    "another type in a trailer": (
        200,
        SAME,
        post(CHUNKED, chunks(GOOD, 100)[:-2] + b"Content-Type: text/DUPONT\r\n\r\n"),
    ),
    "a megabyte of trailer fields": (
        431,
        REFUSED,
        post(CHUNKED, chunks(GOOD, 100)[:-2] + b"DUPONT:1\r\n" * 100_000 + b"\r\n"),
    ),
    "a trailer field of a megabyte": (
        400,
        REFUSED,
        post(CHUNKED, chunks(GOOD, 100)[:-2] + b"DUPONT:" + b"1" * 2**20 + b"\r\n\r\n"),
    ),
    "a chunk's extension of a megabyte": (400, REFUSED, post(CHUNKED, b"5;DUPONT=" + b"1" * 2**20)),
    "a megabyte of empty lines": (400, REFUSED, b"\r\n" * 2**19),
    "two slashes": (404, UNKNOWN, post(LENGTH, GOOD, b"POST //predict HTTP/1.1")),
    "chunk size that is no number": (400, REFUSED, post(CHUNKED, b"DUPONT\r\n" + GOOD)),
    "negative chunk size": (400, REFUSED, post(CHUNKED, b"-1\r\n" + GOOD)),
    "chunk without its end": (400, REFUSED, post(CHUNKED, b"2\r\n" + GOOD)),
    "chunks without an end": (400, REFUSED, post(CHUNKED, b"FFFF\r\n" + GOOD)),
    "length and chunks": (400, REFUSED, post(LENGTH + b"\r\n" + CHUNKED, chunks(GOOD, 100))),
    "no length": (400, MALFORMED, post(b"X-Client: DUPONT", GOOD)),
    "negative length": (400, REFUSED, post(b"Content-Length: -987654", GOOD)),
    "length that is no number": (400, REFUSED, post(b"Content-Length: DUPONT", GOOD)),
    "length too short": (400, MALFORMED, post(b"Content-Length: 40", GOOD)),
    "length too long": (400, REFUSED, post(b"Content-Length: 60000", GOOD)),
    "absurd length": (400, REFUSED, post(b"Content-Length: 98765432109876543210", GOOD)),
    "two content types": (415, NOT_JSON, post(LENGTH + b"\r\nContent-Type: text/plain", GOOD)),
    "two encodings": (
        415,
        COMPRESSED,
        post(LENGTH + b"\r\nContent-Encoding: identity\r\nContent-Encoding: gzip", GOOD),
    ),
    "HTTP/1.0": (200, SAME, post(LENGTH, GOOD, b"POST /predict HTTP/1.0")),
    "no host": (400, REFUSED, post(LENGTH, GOOD).replace(b"Host: x\r\n", b"")),
    "no host in HTTP/1.0": (
        200,
        SAME,
        post(LENGTH, GOOD, b"POST /predict HTTP/1.0").replace(b"Host: x\r\n", b""),
    ),
    "two hosts": (400, REFUSED, post(LENGTH + b"\r\nHost: DUPONT", GOOD)),
    "host with a space": (400, REFUSED, post(LENGTH, GOOD).replace(b"Host: x", b"Host: x DUPONT")),
    "host with markup": (200, SAME, post(LENGTH, GOOD).replace(b"Host: x", b"Host: <b>DUPONT</b>")),
    "Expect: 100-continue": (200, SAME, post(LENGTH + b"\r\nExpect: 100-continue", GOOD)),
    "header that is not ASCII": (200, SAME, post(LENGTH + b"\r\nX-Client: DUPONT \xe9\xff", GOOD)),
    "absolute address": (200, SAME, post(LENGTH, GOOD, b"POST http://DUPONT/predict HTTP/1.1")),
    "two requests in one": (200, SAME, post(LENGTH, GOOD + post(LENGTH, GOOD, b"PUT /DUPONT HTTP/1.1"))),
    "escape character in the path": (400, REFUSED, post(LENGTH, GOOD, b"POST /\x1b[31mDUPONT HTTP/1.1")),
    "bytes in the path": (400, REFUSED, post(LENGTH, GOOD, b"POST /DUPONT\xff HTTP/1.1")),
    "unknown version of HTTP": (400, REFUSED, post(LENGTH, GOOD, b"POST /predict?nom=DUPONT HTTP/9.9")),
    "unheard-of method": (400, REFUSED, post(LENGTH, GOOD, b"DUPONT /predict HTTP/1.1")),
    "upgrade to WebSocket": (
        200,
        SAME,
        post(LENGTH + b"\r\nConnection: upgrade\r\nUpgrade: websocket", GOOD),
    ),
    "upgrade to HTTP/2": (200, SAME, post(LENGTH + b"\r\nConnection: upgrade\r\nUpgrade: h2c", GOOD)),
    "HTTP/2 outright": (400, REFUSED, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "a good request, then garbage": (200, SAME, post(LENGTH, GOOD + b"DUPONT 987654\r\n\r\n")),
    "no version of HTTP": (505, REFUSED, post(LENGTH, GOOD, b"POST /predict?nom=DUPONT")),
    "space in the query": (400, REFUSED, post(LENGTH, GOOD, b"POST /predict?nom=DUPONT 987654 HTTP/1.1")),
    "only a method": (400, REFUSED, post(LENGTH, GOOD, b"POST")),
    "TLS": (400, REFUSED, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 DUPONT\r\n\r\n"),
    "JSON instead of HTTP": (400, REFUSED, b'{"AMT_CREDIT": 987654, "nom": "DUPONT"}\r\n\r\n'),
    "address of 70000 characters": (
        414,
        REFUSED,
        post(LENGTH, GOOD, b"POST /" + b"DUPONT" * 12_000 + b" HTTP/1.1"),
    ),
    "header of 70000 characters": (431, REFUSED, post(b"X-Client: " + b"DUPONT" * 12_000, GOOD)),
    "150 headers": (431, REFUSED, post(b"\r\n".join(b"X-%d: DUPONT" % n for n in range(150)), GOOD)),
}


@pytest.mark.parametrize("name", BYTES)
def test_the_socket_answers_any_bytes_with_a_status_and_a_sentence_and_leaves_no_trace(
    name: str, socket_door: SocketDoor, usual: Answer
) -> None:
    status, sentence, request = BYTES[name]
    before = len(socket_door.said)

    answer = socket_door.send_raw(request)
    exchange_quietly(socket_door, request)

    assert (answer.status, said(answer, usual)) == (status, sentence)
    assert_unharmed([socket_door], usual)
    assert_nothing_logged(socket_door.said[before:])
    assert "\x1b" not in socket_door.said[before:]


def exchange_quietly(door: SocketDoor, request: bytes) -> None:
    """Send, and read to the end whatever comes."""
    with socket.create_connection(("127.0.0.1", door.port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65_536):
            pass


def test_a_client_that_hangs_up_in_the_middle_disturbs_nobody(socket_door: SocketDoor, usual: Answer) -> None:
    before = len(socket_door.said)
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", socket_door.port), timeout=10) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(post(LENGTH, GOOD[:100]))

    assert socket_door.send("POST", "/predict", GOOD, JSON).body == usual.body
    assert "Traceback" not in socket_door.said[before:]
