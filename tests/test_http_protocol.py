"""HTTP/1.1 as our protocol speaks it: each callback of the parser, each limit, order, time and end."""

import asyncio
import functools
import gc
import hashlib
import json
import logging
import re
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from api import paths
from api.deciding.service import Service
from api.paths import BATCH, PREDICT
from api.server import http_protocol, wsgi
from api.server.http_protocol import (
    IDLE_SECONDS,
    KEPT_SECONDS,
    LINGER_BYTES,
    LINGER_SECONDS,
    RATE,
    RECEIVE_SECONDS,
    SEND_SECONDS,
)
from api.server.http_reader import BODY_SLICE, HEAD_LIMIT, HEADERS_LIMIT, SLICE, URL_LIMIT, Reader
from api.server.http_request import Request
from api.server.lane import Lane
from api.tokens import Guard
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.errors import RequestRefused, ScoringError
from tests import servers
from tests.wire import PATIENCE, Wire

HEAD = b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"

Test = Callable[..., Coroutine[Any, Any, None]]


def in_the_loop(test: Test) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*arguments: Any, **fixtures: Any) -> None:
        asyncio.run(test(*arguments, **fixtures))

    return run


@pytest.fixture
def lane(bundle: Bundle) -> Lane:
    return Lane(Service(servers.serving(bundle.scorer())))


@pytest.fixture
def body(documented_request: dict[str, float]) -> bytes:
    return json.dumps(documented_request).encode()


def post(body: bytes, path: bytes = b"/predict", more: bytes = b"") -> bytes:
    return b"POST " + path + HEAD + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


def announced(length: int, path: bytes = b"/predict/batch", more: bytes = b"") -> bytes:
    """The head of a request whose body is still to come."""
    return b"POST " + path + HEAD + more + b"Content-Length: %d\r\n\r\n" % length


def chunked(body: bytes, trailers: bytes = b"", path: bytes = b"/predict") -> bytes:
    head = b"POST " + path + HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%s\r\n0\r\n" % (len(body), body) + trailers + b"\r\n"


# ---- A barrier keeps answers back


class Closed:
    """Until the test opens it."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def when_open(self, go: Callable[[], None], refuse: Callable[[], None]) -> None:
        self.waiting.append(go)

    def open(self) -> None:
        for go in self.waiting:
            go()


@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n"], ids=["kept", "closed"])
@in_the_loop
async def test_no_answer_leaves_before_the_barrier_opens(bundle: Bundle, body: bytes, more: bytes) -> None:
    barrier = Closed()
    wire = Wire(Lane(Service(servers.serving(bundle.scorer())), barrier))
    wire.send(post(body) + post(body, more=more))
    await asyncio.sleep(0.05)
    wire.connection.keep_to_time(0.0)
    wire.connection.keep_to_time(LINGER_SECONDS + 1.0)
    before = (wire.statuses, wire.is_open, wire.connection.is_idle)

    barrier.open()

    assert before == ([], True, False)
    assert wire.statuses == [200, 200]
    assert (wire.is_open, wire.connection.is_idle) == (not more, True)


@in_the_loop
async def test_a_barrier_lets_go_only_the_answers_that_it_was_asked_for(bundle: Bundle, body: bytes) -> None:
    barrier = Closed()
    wire = Wire(Lane(Service(servers.serving(bundle.scorer())), barrier))
    for _ in range(2):
        wire.send(post(body))
        await asyncio.sleep(0.02)

    counts = []
    for go in barrier.waiting:
        go()
        counts.append(len(wire.statuses))

    assert counts == [1, 2]


@in_the_loop
async def test_a_client_that_has_said_all_gets_what_a_barrier_kept_back(bundle: Bundle, body: bytes) -> None:
    barrier = Closed()
    wire = Wire(Lane(Service(servers.serving(bundle.scorer())), barrier))
    wire.send(post(body, more=b"Connection: close\r\n"))
    wire.say_all()
    await asyncio.sleep(0.02)

    barrier.open()

    assert (wire.statuses, wire.is_open) == ([200], False)


@in_the_loop
async def test_a_barrier_that_never_opens_costs_the_connection(bundle: Bundle, body: bytes) -> None:
    wire = Wire(Lane(Service(servers.serving(bundle.scorer())), Closed()))
    wire.send(post(body))
    await asyncio.sleep(0.02)
    wire.connection.keep_to_time(0.0)
    wire.connection.keep_to_time(KEPT_SECONDS)
    in_time = wire.is_open

    wire.connection.keep_to_time(KEPT_SECONDS + 1.0)

    assert (in_time, wire.is_open, wire.statuses) == (True, False, [])


@in_the_loop
async def test_who_sends_on_behind_a_kept_answer_is_cut_off(bundle: Bundle, body: bytes) -> None:
    wire = Wire(Lane(Service(servers.serving(bundle.scorer())), Closed()))
    wire.send(post(body, more=b"Connection: close\r\n"))
    await asyncio.sleep(0.02)

    for _ in range(LINGER_BYTES // 2**16 + 1):
        wire.send(bytes(2**16))

    assert not wire.is_open


# ---- What the parser calls, and what else calls it


def read(*parts: bytes) -> list[Request]:
    """The requests in these parts of a connection."""
    requests: list[Request] = []
    reader = Reader(requests.append)
    for part in parts:
        for start in range(0, len(part), SLICE):
            reader.feed(part[start : start + SLICE])
    return requests


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


# ---- Who may have a body held


def bytes_held() -> int:
    """Of all bodies in memory."""
    gc.collect()
    return sum(len(one.body) for one in gc.get_objects() if isinstance(one, Request))


@in_the_loop
async def test_small_bodies_for_other_paths_keep_no_batch_out(lane: Lane) -> None:
    for _ in range(4 * BATCH.body_limit // 60_000 + 1):
        Wire(lane).send(announced(65_000, b"/health") + b" " * 60_000)
    wire = Wire(lane)
    wire.send(announced(100_000) + b"[")

    await asyncio.sleep(0)
    assert wire.statuses == []


@in_the_loop
async def test_no_body_is_held_for_a_path_that_reads_none(lane: Lane) -> None:
    wire = Wire(lane)
    wire.send(announced(60_000, b"/health") + b" " * 59_999)
    assert bytes_held() == 0

    wire.send(b" " + HEALTH)
    assert await wire.until(2) == [405, 200]


@in_the_loop
async def test_a_chunked_body_for_a_path_that_reads_none_is_cut(lane: Lane) -> None:
    wire = Wire(lane)
    wire.send(chunked(b" " * 70_000, path=b"/health"))

    assert await wire.until_closed() == [413]
    assert "64 Kio" in wire.written.decode()


@pytest.mark.parametrize(
    "head", [announced(BATCH.body_limit), chunked(b"[")[:-9].replace(b"t H", b"t/batch H")]
)
@in_the_loop
async def test_a_batch_is_admitted_or_refused_at_its_head(lane: Lane, head: bytes) -> None:
    """One whose length is not announced takes as much room as it might need."""
    admitted = [Wire(lane) for _ in range(4)]
    for wire in admitted:
        wire.send(head)
    refused = Wire(lane)
    refused.send(head)

    assert await refused.until(1) == [503]
    assert b"retry-after: 1\r\n" in refused.heads[0]
    assert [wire.statuses for wire in admitted] == [[]] * 4

    admitted[0].vanish()
    again = Wire(lane)
    again.send(head)
    await asyncio.sleep(0.01)
    assert again.statuses == []


@in_the_loop
async def test_the_room_of_a_batch_is_free_again_when_it_is_answered(lane: Lane) -> None:
    for _ in range(6):
        wire = Wire(lane)
        wire.send(announced(BATCH.body_limit).replace(b"json", b"other"))
        wire.send(b" " * BATCH.body_limit)
        assert await wire.until(1) == [415]


@in_the_loop
async def test_a_batch_that_announces_too_much_is_refused_before_it_is_sent(lane: Lane) -> None:
    wire = Wire(lane)
    wire.send(announced(BATCH.body_limit + 1))

    assert await wire.until(1) == [413]
    assert "16 Mio" in wire.written.decode()
    assert b"x-model-digest" in wire.heads[0]

    wire.send(b" " * (BATCH.body_limit + 1) + HEALTH)
    assert await wire.until(2) == [413, 200]


@in_the_loop
async def test_a_request_that_was_answered_at_its_head_gets_no_second_answer(lane: Lane) -> None:
    wire = Wire(lane)
    wire.send(announced(BATCH.body_limit + 1) + b"[")
    await wire.until(1)
    wire.connection.keep_to_time(1000.0)
    wire.connection.keep_to_time(1000.1 + RECEIVE_SECONDS)

    assert await wire.until_closed() == [413]


@in_the_loop
async def test_slow_bodies_for_decisions_are_bounded_too_and_whole_ones_pass(lane: Lane, body: bytes) -> None:
    slow = [Wire(lane) for _ in range(1025)]
    for wire in slow:
        wire.send(announced(PREDICT.body_limit, b"/predict") + b"{")

    assert await slow[-1].until(1) == [503]
    quick = Wire(lane)
    quick.send(post(body))
    assert await quick.until(1) == [200]


def guarded(bundle: Bundle, folder: Path, token: str) -> Lane:
    (folder / "tokens").write_text(f"score {hashlib.sha256(token.encode()).hexdigest()} x\n")
    return Lane(Service(servers.serving(bundle.scorer()), Guard(folder / "tokens")))


@in_the_loop
async def test_a_token_in_a_trailer_lets_nobody_in(bundle: Bundle, tmp_path: Path, body: bytes) -> None:
    lane = guarded(bundle, tmp_path, "secret")
    wire = Wire(lane)
    wire.send(chunked(body, b"Authorization: Bearer secret\r\n"))
    wire.send(chunked(body).replace(b"Host", b"Authorization: Bearer secret\r\nHost"))

    assert await wire.until(2) == [401, 200]


@pytest.mark.parametrize("path", [b"/predict", b"/predict/batch"])
@in_the_loop
async def test_without_a_token_no_body_is_held(bundle: Bundle, tmp_path: Path, path: bytes) -> None:
    lane = guarded(bundle, tmp_path, "secret")
    wire = Wire(lane)
    wire.send(announced(60_000, path) + b" " * 50_000)

    assert await wire.until(1) == [401]
    assert b"www-authenticate: bearer\r\n" in wire.heads[0]
    assert bytes_held() == 0


@in_the_loop
async def test_who_asks_before_sending_a_body_hears_a_refusal_instead_and_no_more(lane: Lane) -> None:
    for head in (announced(BATCH.body_limit + 1), announced(10, b"/health")):
        wire = Wire(lane)
        wire.send(head.replace(b"Host", b"Expect: 100-continue\r\nHost"))

        (status,) = await wire.until_closed()
        assert status in (413, 405)
        assert b"connection: close\r\n" in wire.heads[0]


@in_the_loop
async def test_who_asks_before_sending_a_body_is_answered_in_turn(lane: Lane, body: bytes) -> None:
    wire = Wire(lane)
    head = announced(len(body), b"/predict", b"Expect: 100-continue\r\n")
    wire.send(HEALTH + head)
    assert await wire.until(2) == [200, 100]
    wire.send(body + head + body)

    assert await wire.until(4) == [200, 100, 200, 200]


# ---- How long it takes


@in_the_loop
async def test_an_idle_connection_is_closed_after_any_answer(lane: Lane, body: bytes) -> None:
    for request in (post(body), HEALTH, post(b"{}")):
        wire = Wire(lane)
        wire.send(request)
        await wire.until(1)

        wire.connection.keep_to_time(1000.0)
        wire.connection.keep_to_time(1000.0 + IDLE_SECONDS)
        is_kept = wire.is_open
        wire.connection.keep_to_time(1000.1 + IDLE_SECONDS)
        assert (is_kept, wire.is_open) == (True, False)


@in_the_loop
async def test_a_request_that_comes_slowly_begins_no_idle_time_and_is_refused_late(
    lane: Lane, body: bytes
) -> None:
    wire = Wire(lane)
    wire.send(post(body) + post(body)[:20])
    await wire.until(1)
    wire.connection.keep_to_time(1000.0)
    wire.send(post(body)[20:30])
    wire.connection.keep_to_time(1000.0 + RECEIVE_SECONDS)
    before = wire.statuses
    wire.connection.keep_to_time(1000.1 + RECEIVE_SECONDS)

    assert (before, await wire.until_closed()) == ([200], [200, 408])


@in_the_loop
async def test_a_flood_of_tiny_chunks_gives_the_others_their_turn(lane: Lane, body: bytes) -> None:
    flood, other = Wire(lane), Wire(lane)
    flood.send(
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + 40_000 * b"1\r\n0\r\n"
    )
    was_read_at_once = not flood.is_paused
    other.send(post(body))

    assert await other.until(1) == [200]
    assert not was_read_at_once


@in_the_loop
async def test_a_body_whose_client_has_gone_is_dropped_at_once(lane: Lane) -> None:
    wire = Wire(lane)
    wire.send(
        b"POST /predict/batch HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n"
        b"Content-Length: 9000000\r\n\r\n"
    )
    wire.send(8_000 * b"x")
    request = wire.connection._reader.request
    assert request is not None
    held = len(request.body)
    wire.vanish()

    assert (held, len(request.body)) == (8_000, 0)


@in_the_loop
async def test_a_request_behind_an_idle_time_has_its_whole_time(lane: Lane, body: bytes) -> None:
    wire = Wire(lane)
    wire.send(post(body))
    await wire.until(1)
    wire.connection.keep_to_time(1000.0)
    wire.connection.keep_to_time(1060.0)
    wire.send(post(body)[:40])
    wire.connection.keep_to_time(1060.5)
    wire.connection.keep_to_time(1060.5 + RECEIVE_SECONDS)
    wire.send(post(body)[40:])

    assert await wire.until(2) == [200, 200]


@in_the_loop
async def test_no_clock_runs_while_flask_has_the_request(lane: Lane) -> None:
    asked: asyncio.Future[wsgi.Response] = asyncio.get_running_loop().create_future()
    lane.ask_flask = lambda *_: asked  # type: ignore[method-assign]
    wire = Wire(lane)
    wire.send(HEALTH + HEALTH[:20])
    for now in range(0, 1000, 10):
        wire.connection.keep_to_time(float(now))
    assert wire.is_open

    asked.set_result(wsgi.Response(200, [], b"late"))
    assert await wire.until(1) == [200]
    wire.connection.keep_to_time(1000.0)
    assert (wire.is_open, wire.is_half_open) == (True, True)


@in_the_loop
async def test_a_client_that_asks_nothing_is_closed_without_a_word(lane: Lane) -> None:
    wire = Wire(lane)
    wire.connection.keep_to_time(0.0)
    wire.connection.keep_to_time(RECEIVE_SECONDS + 0.1)

    assert (wire.is_open, wire.written) == (False, b"")


@in_the_loop
async def test_a_client_that_takes_nothing_is_gone_and_one_that_takes_slowly_is_not(
    lane: Lane, body: bytes
) -> None:
    slow, stuck = Wire(lane), Wire(lane)
    for wire in (slow, stuck):
        wire.client_takes = False
        wire.send(post(body))
        await wire.until(1)
        for now in range(0, int(SEND_SECONDS) + 4, 2):
            wire.connection.keep_to_time(float(now))
            slow.unsent -= 1

    assert (slow.is_open, stuck.is_open) == (True, False)


@pytest.mark.parametrize(
    ("sent", "status"),
    [(post(b"{}", more=b"X: y\r\n" * 150)[:-1], 431), (b"\r\n" * 40_000, 400)],
    ids=["in a request", "between requests"],
)
@in_the_loop
async def test_a_client_that_is_refused_while_it_sends_has_time_to_read_why(
    lane: Lane, body: bytes, sent: bytes, status: int
) -> None:
    wires = [Wire(lane) for _ in range(3)]
    for wire in wires:
        wire.send(sent)
        assert await wire.until_closed() == [status]
        wire.send(body)
        assert wire.is_open
        wire.connection.keep_to_time(0.0)

    wires[0].say_all()
    wires[1].send(b" " * (LINGER_BYTES + 1))
    wires[2].connection.keep_to_time(LINGER_SECONDS + 0.1)
    assert [wire.is_open for wire in wires] == [False] * 3


# ---- How it ends


@in_the_loop
async def test_the_end_answers_what_is_pipelined_and_closes_with_the_last(lane: Lane, body: bytes) -> None:
    wire = Wire(lane)
    wire.connection.end()
    wire.send((post(body) + HEALTH) * 20 + post(body)[:50])
    await wire.until(40)
    wire.send(post(body)[50:])

    assert await wire.until_closed() == [200] * 41
    assert [b"connection: close" in head for head in wire.heads] == [False] * 40 + [True]


@in_the_loop
async def test_who_has_said_all_still_gets_every_answer(lane: Lane, body: bytes) -> None:
    wire = Wire(lane)
    wire.send((post(body) + HEALTH) * 20)
    wire.say_all()

    assert await wire.until_closed() == [200] * 40


@in_the_loop
async def test_a_client_that_vanishes_leaves_nothing_behind(lane: Lane, body: bytes) -> None:
    for request in (post(body), HEALTH * 20, announced(1000), post(body)[:20]):
        wire = Wire(lane)
        wire.send(request)
        wire.vanish()
        assert not wire.peers
    await asyncio.sleep(0.05)

    wire = Wire(lane)
    wire.send(post(body) + HEALTH)
    assert await wire.until(2) == [200, 200]


@in_the_loop
async def test_what_is_no_request_is_refused_with_an_id_a_date_and_a_count_and_no_word_in_the_log(
    lane: Lane, caplog: pytest.LogCaptureFixture
) -> None:
    wire = Wire(lane)
    with caplog.at_level(logging.DEBUG):
        wire.send(b"DUPONT /987654 HTTP/1.1\r\n\r\n")
        assert await wire.until_closed() == [400]

    assert re.search(rb"x-request-id: [0-9a-f-]+\r\n", wire.heads[0])
    assert re.search(rb"date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d gmt\r\n", wire.heads[0])
    assert list(lane.service.tally.seconds) == [("no request", "400")]
    assert "DUPONT" not in caplog.text


# ---- Flask


def test_flask_hears_no_name_that_could_be_taken_for_another(body: bytes) -> None:
    more = b"X_Forwarded_Proto: https\r\nX-Twice: a\r\nX-Twice: b\r\nContent_Length: 5\r\n"
    (request,) = read(post(body, b"/predict/batch?a=%20", more))

    environ = wsgi.environ(request, ("127.0.0.1", 5000), ("10.0.0.1", 40_000))

    assert {name: value for name, value in environ.items() if name.startswith(("HTTP_", "CONTENT_"))} == {
        "HTTP_HOST": "x",
        "HTTP_X_TWICE": "a,b",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
    }
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/predict/batch", "a=%20")
    assert environ["wsgi.input"].read() == body


@in_the_loop
async def test_head_has_the_headers_of_get_and_no_content(lane: Lane) -> None:
    wire = Wire(lane)
    wire.send(b"HEAD /predict HTTP/1.1\r\nHost: x\r\n\r\n" + b"GET /predict HTTP/1.1\r\nHost: x\r\n\r\n")

    assert await wire.until(2) == [405, 405]
    unlike = re.compile(rb"x-request-id: [^\r]+|date: [^\r]+")
    head, get = (unlike.sub(b"", one) for one in wire.heads)
    assert head == get
    assert b"allow: post\r\n" in head
    assert wire.written.count(b'{"error"') == 1


@pytest.mark.parametrize("path", ["//predict", "///predict", "/predict//batch", "/predict/", "//health"])
@in_the_loop
async def test_a_path_with_a_slash_too_many_is_unknown_at_every_door(lane: Lane, path: str) -> None:
    wire = Wire(lane)
    wire.send(post(b"{}", path.encode()))
    flask = lane.flask.test_client().post("/", environ_overrides={"PATH_INFO": path})

    assert await wire.until(1) == [404]
    assert flask.status_code == 404
    assert flask.json == {"error": "Chemin inconnu : consultez GET /docs."}
    assert "Location" not in flask.headers
    assert lane.service.tally.seconds.keys() == {("unknown path", "404")}


@in_the_loop
async def test_a_bug_around_flask_is_answered_like_one_of_ours(
    lane: Lane, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("987654")

    lane.__dict__["flask"] = broken
    wire = Wire(lane)
    wire.send(HEALTH + HEALTH)

    assert await wire.until(2) == [500, 500]
    assert "987654" not in caplog.text


@in_the_loop
async def test_a_large_answer_is_handed_over_as_it_is_and_a_small_one_in_one_piece(
    lane: Lane, body: bytes
) -> None:
    """To copy a batch's answer would take milliseconds from all other connections."""
    wire = Wire(lane)
    wire.send(post(b"[" + b", ".join([body] * 500) + b"]", b"/predict/batch"))
    await wire.until(answers=1)
    wire.send(HEALTH)
    await wire.until(answers=2)

    head, content, health = wire.pieces
    assert head.endswith(b"\r\n\r\n")
    assert health.startswith(b"HTTP/1.1 200 OK\r\n")
    assert f"content-length: {len(content)}\r\n".encode() in head
    assert len(json.loads(content)) == 500
    assert wire.statuses == [200, 200]


@in_the_loop
async def test_who_sends_a_large_body_is_read_on_after_others_were_however_fast_it_is_read(
    lane: Lane, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "TURN_SECONDS", 60.0)
    wire, other = Wire(lane), Wire(lane)
    large = post(b"[" + b" " * 2**20 + body + b"]", b"/predict/batch")
    wire.send(large)

    assert wire.is_paused
    other.send(post(body))
    assert await other.until(answers=1) == [200]
    assert await wire.until(answers=1) == [200]
    assert not wire.is_paused


@in_the_loop
async def test_the_body_of_a_batch_is_fed_to_the_parser_in_larger_slices(
    lane: Lane, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In slices of 4 KiB, one of 13 MB takes 20 ms of the event loop."""
    fed, feed = list[int](), Reader.feed

    def counted(reader: Reader, data: bytes | memoryview) -> None:
        fed.append(len(data))
        feed(reader, data)

    monkeypatch.setattr(Reader, "feed", counted)
    wire = Wire(lane)

    wire.send(post(b"[" + b" " * 2**20 + body + b"]", b"/predict/batch"))

    assert await wire.until(answers=1) == [200]
    assert len(fed) < 2 * 2**20 // BODY_SLICE


# ---- What one connection may cost the others

NUMBER_WITHOUT_END = b"POST %s" + HEAD + b"Content-Length: " + b"0" * 5_000 + b"2\r\n\r\n"


@pytest.mark.parametrize("path", [b"/predict", b"/predict/batch", b"/health"])
@in_the_loop
async def test_a_length_of_thousands_of_digits_is_refused(lane: Lane, body: bytes, path: bytes) -> None:
    """Python reads no number of more than 4,300 digits; llhttp does, if they are zeros."""
    wire, other = Wire(lane), Wire(lane)
    wire.send(post(body) * 95 + NUMBER_WITHOUT_END % path + b"{}")
    other.send(post(body))

    assert await wire.until_closed() == [200] * 95 + [400]
    assert await other.until(1) == [200]


@in_the_loop
async def test_a_length_with_zeros_in_front_of_it_is_a_number(lane: Lane, body: bytes) -> None:
    wire = Wire(lane)
    wire.send(post(body).replace(b"Content-Length: ", b"Content-Length: 000"))

    assert await wire.until(1) == [200]


BUGS = {
    "reading": lambda wire, bug: setattr(wire.connection._reader, "feed", bug),
    "writing": lambda wire, bug: setattr(wire, "writelines", bug),
    "answering": lambda wire, bug: setattr(wire.connection, "_answer", bug),
}


@pytest.mark.parametrize("place", BUGS)
@in_the_loop
async def test_a_bug_in_one_connection_ends_it_and_costs_no_other(
    lane: Lane, body: bytes, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    """Among those whose answers leave together, and at the next look at the clock."""

    def bug(*_: object) -> None:
        raise ValueError("987654")

    before, wire, behind = Wire(lane), Wire(lane), Wire(lane)
    BUGS[place](wire, bug)
    before.send(post(body))
    wire.send(HEALTH + post(body))
    behind.send(post(body))

    assert await before.until(1) == [200]
    assert await behind.until(1) == [200]
    assert await wire.until_closed() == []
    assert [line.levelname for line in caplog.records] == ["ERROR"]
    assert "987654" not in caplog.text


@in_the_loop
async def test_a_bug_in_looking_at_the_clock_ends_the_connection(lane: Lane) -> None:
    wire = Wire(lane)
    wire.get_write_buffer_size = lambda: 1 // 0  # type: ignore[method-assign]

    wire.connection.keep_to_time(0.0)

    assert not wire.is_open


@in_the_loop
async def test_where_the_system_gives_no_thread_more_a_request_is_answered(
    lane: Lane, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    wire = Wire(lane)
    wire.send(HEALTH + post(body))

    assert await wire.until(2) == [500, 200]


@in_the_loop
async def test_heads_that_wait_are_bounded_in_bytes(lane: Lane) -> None:
    asked: asyncio.Future[wsgi.Response] = asyncio.get_running_loop().create_future()
    lane.ask_flask = lambda *_: asked  # type: ignore[method-assign]
    wire = Wire(lane)
    large = HEALTH.replace(b"Host:", b"X: " + b"x" * 50_000 + b"\r\nHost:")
    wire.send(large * 40)

    assert wire.is_paused
    assert len(wire.connection._waiting) <= 2
    wire.vanish()


@in_the_loop
async def test_what_is_sent_behind_large_heads_is_read_when_they_are_answered(lane: Lane) -> None:
    wire = Wire(lane)
    wire.send(HEALTH.replace(b"Host:", b"X: " + b"x" * 50_000 + b"\r\nHost:") * 10)

    assert await wire.until(10) == [200] * 10


@in_the_loop
async def test_a_client_that_takes_a_large_answer_by_single_bytes_is_gone(lane: Lane, body: bytes) -> None:
    wire = Wire(lane)
    wire.client_takes = False
    wire.send(post(b"[" + b", ".join([body] * 500) + b"]", b"/predict/batch"))
    await wire.until(1)
    wire.connection.pause_writing()
    in_time = int(SEND_SECONDS + wire.unsent / RATE)
    for now in range(0, in_time, 2):
        wire.connection.keep_to_time(float(now))
        wire.unsent -= 1
    was_open = wire.is_open
    wire.connection.keep_to_time(in_time + 2.0)

    assert (was_open, wire.is_open) == (True, False)


@in_the_loop
async def test_the_room_of_a_batch_whose_client_has_gone_is_free_when_it_has_been_computed(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before: the thread holds the body."""
    goes_on, has_begun = threading.Event(), threading.Event()

    def slow(*_: object) -> wsgi.Response:
        has_begun.set()
        goes_on.wait(PATIENCE)
        return wsgi.Response(200, [], b"")

    monkeypatch.setattr(lane, "_by_flask", slow)
    budget = lane._budgets[paths.BATCH]
    free = budget._free
    wire = Wire(lane)
    wire.send(announced(100_000))
    wire.send(b" " * 100_000)
    await asyncio.to_thread(has_begun.wait, PATIENCE)
    wire.vanish()
    await asyncio.sleep(0.05)
    held = free - budget._free
    goes_on.set()
    for _ in range(1000):
        await asyncio.sleep(0.005)
        if budget._free == free:
            break

    assert (held, budget._free) == (100_000, free)
