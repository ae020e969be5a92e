"""HTTP/1.1 as our protocol reads it: each callback of the parser, each limit, order and depth."""

import asyncio
import gc

import pytest

from api.server import http_protocol
from api.server.http_reader import BODY_SLICE, HEAD_LIMIT, HEADERS_LIMIT, SLICE, URL_LIMIT, Reader
from api.server.http_request import Request
from api.server.lane import Lane
from mlflow_model.errors import RequestRefused, ScoringError
from tests.http_support import HEAD, HEALTH, announced, chunked, in_the_loop, post, read
from tests.wire import Wire

pytest_plugins = ["tests.http_fixtures"]


# ---- What the parser calls, and what else calls it


def test_a_target_that_comes_in_parts_is_whole_and_limited(body: bytes) -> None:
    """on_url is called for each part."""
    long = b"/predict?" + b"x" * (URL_LIMIT - 9)

    (request,) = read(*(bytes([byte]) for byte in post(body, long)))

    assert (request.path, len(request.query)) == ("/predict", URL_LIMIT - 9)
    with pytest.raises(RequestRefused, match="HTTP") as refused:
        read(post(body, long + b"x"))
    assert refused.value.status == 414


def test_a_body_of_known_length_is_read_in_larger_slices_up_to_its_end_and_no_further(body: bytes) -> None:
    """What is checked after each slice (depth, heads) would be exceeded by so much."""
    reader = Reader(lambda _: None)
    slices = [reader.slice]
    for part in (announced(150_000), b" " * BODY_SLICE, b" " * BODY_SLICE, b" " * 18_000, b" " * 928):
        reader.feed(part)
        slices.append(reader.slice)

    assert slices == [SLICE, BODY_SLICE, BODY_SLICE, 150_000 - 2 * BODY_SLICE, SLICE, SLICE]


def test_a_chunked_body_is_read_in_small_slices() -> None:
    reader = Reader(lambda _: None)
    reader.feed(b"POST /predict/batch" + HEAD + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n")

    assert reader.slice == SLICE


def test_a_trailer_field_is_no_header(body: bytes) -> None:
    """on_header is called for both."""
    (request,) = read(chunked(body, b"Authorization: Bearer x\r\nHost: y\r\nX-Request-Id: z\r\n"))

    assert set(request.fields) == {b"host", b"content-type", b"transfer-encoding"}
    assert request.fields[b"host"] == b"x"


@pytest.mark.parametrize("number", [HEADERS_LIMIT - 3, HEADERS_LIMIT - 2])
def test_trailer_fields_count_as_headers(body: bytes, number: int) -> None:
    sent = chunked(body, b"a:b\r\n" * number)

    if number + 3 <= HEADERS_LIMIT:
        assert len(read(sent)) == 1
    else:
        with pytest.raises(RequestRefused, match="HTTP"):
            read(sent)


def test_a_body_in_a_thousand_chunks_is_one_body(body: bytes) -> None:
    """on_body is called for each chunk, and for each part of a chunk that a slice brings."""
    long = body.ljust(20_000)
    parts = [long[start : start + 20] for start in range(0, len(long), 20)]
    chunks = b"".join(b"14\r\n%s\r\n" % part for part in parts)

    (request,) = read(b"POST /predict" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")

    assert request.body == long


def test_a_message_begins_behind_empty_lines_and_they_count_for_nothing(body: bytes) -> None:
    """on_message_begin is called late, and for each request that was pipelined."""
    sent = b"\r\n" * 30_000 + post(body, more=b"X: " + b"x" * 4 * SLICE + b"\r\n")

    assert len(read(sent * 3)) == 3


@pytest.mark.parametrize(
    ("endless", "status"),
    [
        (post(b"") + b"\r\n", 400),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nX: ", 431),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nX: y", 431),
        (chunked(b"{}")[:-2] + b"X: ", 400),
        (chunked(b"{}")[:-2] + b"X: y\r\nX: ", 431),
        (b"POST /predict" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;x=", 400),
    ],
    ids=["empty lines", "value", "second value", "trailer", "second trailer", "chunk extension"],
)
def test_bytes_without_an_end_that_reach_no_callback_are_refused(endless: bytes, status: int) -> None:
    endless, unit = (endless[:-2], endless[-2:]) if endless.endswith(b"\r\n") else (endless, b"x")
    reader = Reader(lambda _: None)
    reader.feed(endless)

    def feed_on() -> int:
        for fed in range(0, 2 * HEAD_LIMIT, SLICE):
            try:
                reader.feed(unit * (SLICE // len(unit)))
            except ScoringError as refused:
                assert fed <= HEAD_LIMIT + SLICE
                return refused.status
        raise AssertionError("never refused")

    assert feed_on() == status


@pytest.mark.parametrize("size", [HEAD_LIMIT - 200, HEAD_LIMIT + 100])
def test_a_head_of_the_limit_passes_wherever_it_begins(body: bytes, size: int) -> None:
    """on_headers_complete is called in the slice where the head ends, which may hold the end of another."""
    sent = post(body, more=b"X: " + b"x" * size + b"\r\n")

    for shift in (0, 1000, SLICE - 1):
        before = b"GET /health?" + b"x" * shift + b" HTTP/1.1\r\nHost: x\r\n\r\n"
        if size < HEAD_LIMIT:
            assert len(read(before + sent)) == 2
        else:
            with pytest.raises(RequestRefused, match="HTTP"):
                read(before + sent)


@pytest.mark.parametrize("offered", [b"h2c", b"websocket"])
def test_an_upgrade_that_is_offered_loses_no_body_and_no_later_request(body: bytes, offered: bytes) -> None:
    """on_message_complete is called behind such a head, and the parser stops there."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\nHTTP2-Settings: AAA\r\n" % offered
    sent = post(body, more=offer) + post(b"{}", more=offer) + HEALTH

    requests = read(sent)

    assert [bytes(request.body) for request in requests] == [body, b"{}", b""]
    assert [request.keep_alive for request in requests] == [True] * 3


def test_what_is_wrong_behind_an_offered_upgrade_is_refused_as_elsewhere(body: bytes) -> None:
    offer = post(body, more=b"Connection: Upgrade\r\nUpgrade: h2c\r\n")

    for wrong in (b"DUPONT 987654\r\n\r\n", b"POST /predict HTTP/1.1\r\n\r\n", offer + b"\0"):
        with pytest.raises(RequestRefused, match="HTTP"):
            read(offer + wrong)


@pytest.mark.parametrize(
    "sent",
    [
        post(b"", more=b"Connection: Upgrade, close\r\nUpgrade: h2c\r\n"),
        post(b"", more=b"Connection: Upgrade\r\nUpgrade: h2c\r\n").replace(b"HTTP/1.1", b"HTTP/1.0"),
        post(b"", more=b"Connection: keep-alive\r\n").replace(b"HTTP/1.1", b"HTTP/1.0"),
        b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["upgrade and close", "upgrade in 1.0", "1.0", "CONNECT"],
)
def test_the_connection_ends_with_a_request_that_says_so_even_if_it_offers_an_upgrade(sent: bytes) -> None:
    (request,) = read(sent + HEALTH)

    assert not request.keep_alive


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"POST http://other:80/predict?x=1", "/predict"),
        (b"POST HTTPS://other", "/"),
        (b"POST http://other?x", "/"),
        (b"POST /%70redict", "/predict"),
        (b"POST /predict#x", "/predict"),
        (b"POST //predict", "//predict"),
        (b"POST http://other//predict", "//predict"),
        (b"OPTIONS *", "/"),
        (b"CONNECT other:443", "/"),
    ],
)
def test_a_target_in_each_form_names_a_path(target: bytes, path: str) -> None:
    (request,) = read(target + b" HTTP/1.1\r\nHost: x\r\n\r\n")

    assert request.path == path


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /predict HTTP/1.1\r\n", 400),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nHost: x\r\n", 400),
        (b"POST /predict HTTP/1.0\r\nHost: x\r\nHost: y\r\n", 400),
        (b"POST /predict HTTP/1.1\r\nHost: x y\r\n", 400),
        (b"POST /predict HTTP/1.1\r\nHost: x\ty\r\n", 400),
        (b"POST /predict HTTP/1.1\r\nHost: x\xe9\r\n", 400),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n", 501),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n", 400),
        (
            b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
            501,
        ),
        (b"POST /predict HTTP/1.0\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"POST * HTTP/1.1\r\nHost: x\r\n", 400),
        (b"POST ftp://x/predict HTTP/1.1\r\nHost: x\r\n", 400),
        (b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n", 413),
    ],
)
def test_a_head_that_could_be_read_in_two_ways_is_refused(head: bytes, status: int) -> None:
    with pytest.raises(ScoringError, match=r"HTTP|64 Kio") as refused:
        read(head + b"\r\n")

    assert refused.value.status == status


def test_http_1_0_needs_no_host(body: bytes) -> None:
    assert len(read(post(body).replace(b"Host: x\r\n", b"").replace(b"HTTP/1.1", b"HTTP/1.0"))) == 1


def test_a_bug_of_ours_in_a_callback_is_no_fault_of_the_client(body: bytes) -> None:
    def stumble(_: Request) -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        Reader(stumble).feed(post(body))


# ---- Order and depth


@in_the_loop
async def test_two_hundred_requests_and_the_beginning_of_one_more_are_no_large_head(
    lane: Lane, body: bytes
) -> None:
    wire = Wire(lane)
    wire.send(post(body) * 200 + post(body)[:20])

    assert await wire.until(200) == [200] * 200

    wire.send(post(body)[20:])
    assert await wire.until(201) == [200] * 201


@in_the_loop
async def test_what_is_pipelined_beyond_a_depth_stays_unread(lane: Lane) -> None:
    wire = Wire(lane)
    wire.send(HEALTH * 8000)

    gc.collect()
    waiting = sum(isinstance(one, Request) for one in gc.get_objects())
    assert wire.is_paused
    assert waiting < http_protocol.DEPTH + SLICE // 25
    wire.vanish()


@in_the_loop
async def test_all_that_is_pipelined_is_answered_in_its_order(lane: Lane, body: bytes) -> None:
    wire = Wire(lane)
    wire.send((post(body) + HEALTH + post(b"{}") + post(b"[]", b"/predict/batch")) * 50)

    assert await wire.until(200) == [200, 200, 400, 400] * 50


@in_the_loop
async def test_a_client_that_takes_no_answers_is_read_no_further(lane: Lane, body: bytes) -> None:
    wire = Wire(lane)
    wire.connection.pause_writing()
    wire.send(post(body) * 100)
    await asyncio.sleep(0)
    before = len(wire.statuses)
    wire.connection.resume_writing()

    assert (before, await wire.until(100)) == (0, [200] * 100)


@in_the_loop
async def test_what_follows_the_last_request_is_not_read(lane: Lane, body: bytes) -> None:
    wire = Wire(lane)
    wire.send(post(body, more=b"Connection: close\r\n") + post(body))

    assert await wire.until_closed() == [200]
    assert b"connection: close\r\n" in wire.heads[0]


@in_the_loop
async def test_garbage_behind_good_requests_is_refused_after_their_answers(lane: Lane, body: bytes) -> None:
    wire = Wire(lane)
    wire.send(HEALTH + post(body) + b"DUPONT 987654\r\n\r\n" + post(body))

    assert await wire.until_closed() == [200, 200, 400]
    assert b"connection: close\r\n" not in wire.heads[1]
