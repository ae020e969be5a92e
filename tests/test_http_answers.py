"""Answers that a barrier keeps back, and those that Flask makes."""

import asyncio
import json
import re
from collections.abc import Callable

import pytest

from api.deciding.service import Service
from api.server import http_protocol, wsgi
from api.server.http_deadlines import (
    KEPT_SECONDS,
    LINGER_SECONDS,
)
from api.server.http_protocol import LINGER_BYTES
from api.server.http_reader import BODY_SLICE, Reader
from api.server.lane import Lane
from mlflow_model.bundle.bundles import Bundle
from tests import servers
from tests.http_support import HEALTH, in_the_loop, post, read
from tests.wire import Wire

pytest_plugins = ["tests.http_fixtures"]


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
