"""Whose body is held, for how much memory, and who is answered without it."""

import asyncio
import gc
import hashlib
from pathlib import Path

import pytest

from api.deciding.service import Service
from api.paths import BATCH, PREDICT
from api.server.http_deadlines import (
    RECEIVE_SECONDS,
)
from api.server.http_request import Request
from api.server.lane import Lane
from api.tokens import Guard
from mlflow_model.bundle.bundles import Bundle
from tests import servers
from tests.http_support import HEALTH, announced, chunked, in_the_loop, post
from tests.wire import Wire

pytest_plugins = ["tests.http_fixtures"]


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
