"""How long a connection may take, how it ends, and what it may cost the others."""

import asyncio
import logging
import re
import threading

import pytest

from api import paths
from api.server import wsgi
from api.server.http_deadlines import (
    IDLE_SECONDS,
    LINGER_SECONDS,
    RATE,
    RECEIVE_SECONDS,
    SEND_SECONDS,
)
from api.server.http_protocol import LINGER_BYTES
from api.server.lane import Lane
from tests.http_support import HEAD, HEALTH, announced, in_the_loop, post
from tests.wire import PATIENCE, Wire

pytest_plugins = ["tests.http_fixtures"]


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
