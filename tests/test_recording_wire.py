"""What workers and the journal's writer say to each other, and in which order answers leave."""

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.delivery.served import ServedModel
from api.recording import client, recorder, wire
from api.recording.recorder import Recorder
from api.recording.wire import Garbled, Incoming, Outgoing
from journal import events, ids
from journal.models import Model
from journal.receipt import Receipt
from journal.record import Entry
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.errors import JournalUnavailable
from tests import servers
from tests.http_support import in_the_loop

MODELS = [
    Model(name, "1", "0" * 64, 0.2, 0.1, ("a", "b", "c"), ("X", "Y"), ("prediction", "p"), "code")
    for name in ("first", "second")
]


def entry(model: int = 0, value: float = 1.5, reference: str = "") -> Entry:
    return Receipt(
        model=MODELS[model],
        inputs=[value, math.nan],
        outputs=["b", 0.25],
        door="predict",
        request_id="r",
        client_reference=reference,
    ).entry()


@given(
    groups=st.lists(
        st.lists(st.tuples(st.integers(0, 1), st.floats(allow_nan=False), st.text(max_size=20)), max_size=4),
        max_size=5,
    ),
    size=st.integers(1, 400),
)
def test_groups_arrive_as_they_were_sent_in_pieces_of_any_size(
    groups: list[list[tuple[int, float, str]]], size: int
) -> None:
    sent = [[entry(*one) for one in group] for group in groups]
    outgoing, incoming = Outgoing(), Incoming()
    stream = b"".join(outgoing.message(number, group) for number, group in enumerate(sent))

    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    found = [group for piece in pieces for group in incoming.feed(piece)]

    assert [group.number for group in found] == [*range(len(sent))]
    assert [group.entries for group in found] == sent


@pytest.mark.parametrize(
    "garbled",
    [
        b"\xff\xff\xff\xff",
        b"\0\0\0\1a",
        b"\0\0\0\x0e" + bytes(10) + b"\0\0\0\1",
        Outgoing().message(1, [entry()])[:-1] + b"",
    ],
    ids=["endless", "short", "without its record", "cut"],
)
def test_what_is_no_group_is_garbled_or_waits_for_its_end(garbled: bytes) -> None:
    incoming = Incoming()
    try:
        found = [*incoming.feed(garbled)]
    except Garbled:
        return
    assert found == []


# ---- The order of answers


class Writer:
    """The other side of the socket: answers when the test says so."""

    def __init__(self, folder: Path) -> None:
        self.address = folder / "socket"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.address))
        self._listener.listen()
        self._connection: socket.socket | None = None

    def close(self) -> None:
        for one in (self._listener, self._connection):
            if one is not None:
                one.close()

    async def accept(self) -> None:
        self._listener.setblocking(False)
        self._connection, _ = await asyncio.get_running_loop().sock_accept(self._listener)
        self._incoming = Incoming()

    def hang_up(self) -> None:
        assert self._connection
        self._connection.close()
        self._connection = None

    def received(self) -> list[wire.Group]:
        """What has come since it was asked last."""
        assert self._connection
        return [*self._incoming.feed(self._connection.recv(1 << 20))]

    async def tell(self, *answers: tuple[int, bool]) -> None:
        assert self._connection
        for number, is_written in answers:
            self._connection.sendall(wire.answer(number, is_written=is_written))
        await asyncio.sleep(0.05)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    found = Writer(tmp_path)
    yield found
    found.close()


class Counts:
    """What the recorder has counted."""

    def __init__(self) -> None:
        self.waiting: list[int] = []
        self.written: list[int] = []

    def let_wait(self, receipts: int) -> None:
        self.waiting.append(receipts)

    def recorded(self, path: str, receipts: int, seconds: float) -> None:
        self.written.append(receipts)


class Turns:
    """What became of the answers of each turn, in the order in which they left."""

    def __init__(self, recorder: Recorder) -> None:
        self.left: list[str] = []
        self.heard: list[bool] = []
        self._recorder = recorder

    def take(self, name: str, entries: Sequence[Entry]) -> None:
        self._recorder._entries += entries
        self._recorder._heard += [self._hear] * len(entries)
        self._recorder.when_open(lambda: self.left.append(name), lambda: self.left.append(f"no {name}"))

    def _hear(self, *, leaves: bool) -> None:
        self.heard.append(leaves)


@asynccontextmanager
async def connected(
    writer: Writer, served: ServedModel | None = None
) -> AsyncIterator[tuple[Recorder, Turns]]:
    made = Recorder(writer.address, served or ServedModel(), Counts())
    made.begin()
    await writer.accept()
    await asyncio.sleep(0.05)
    yield made, Turns(made)
    made._task.cancel()
    if made._transport is not None:
        made._transport.close()
    await asyncio.sleep(0.01)


@in_the_loop
async def test_answers_leave_in_their_order_each_with_what_became_of_its_own_receipts(
    writer: Writer,
) -> None:
    async with connected(writer) as (_, turns):
        turns.take("1", [entry()])
        turns.take("2", [entry()])
        turns.take("3", [])

        await writer.tell((2, False))  # of which nobody has heard yet
        before = [*turns.left]
        await writer.tell((1, True))
        between = [*turns.left]
        await writer.tell((2, False))

        assert (before, between, turns.left) == ([], ["1"], ["1", "no 2", "3"])
        assert turns.heard == [True, False]


@in_the_loop
async def test_what_comes_while_the_writer_writes_is_the_next_group(writer: Writer) -> None:
    first, *later = (entry() for _ in range(4))
    async with connected(writer) as (_, turns):
        turns.take("1", [first])
        for number, one in enumerate(later, 2):
            turns.take(str(number), [one])
        before = writer.received()
        await writer.tell((1, True))
        after = writer.received()
        await writer.tell((2, True))

    assert [group.entries for group in before] == [[first]]
    assert [group.entries for group in after] == [later]
    assert turns.left == ["1", "2", "3", "4"]


@in_the_loop
async def test_a_version_that_is_announced_in_the_middle_of_a_turn_takes_no_receipt_of_the_turn(
    writer: Writer, bundle: Bundle
) -> None:
    async with connected(writer, servers.serving(bundle.scorer())) as (made, turns):
        await writer.tell((1, True))  # the version, announced with the connection
        made._entries.append(entry())
        made._announced = None
        made._announce_the_served()
        turns.take("1", [])

        await writer.tell((2, True))
        before = [*turns.left]
        await writer.tell((3, True))

        assert (before, turns.left) == ([], ["1"])


@in_the_loop
async def test_answers_without_receipts_wait_for_nobody(writer: Writer) -> None:
    async with connected(writer) as (_, turns):
        turns.take("1", [])

        assert turns.left == ["1"]


@in_the_loop
async def test_a_writer_that_says_nothing_is_waited_for_no_longer_than_a_second(writer: Writer) -> None:
    async with connected(writer) as (made, turns):
        turns.take("1", [entry()])
        made.check()

        await asyncio.sleep(recorder.LONGEST_WAIT_SECONDS + 0.2)

        assert turns.left == ["no 1"]
        assert turns.heard == [False]
        with pytest.raises(JournalUnavailable):
            made.check()
        await writer.tell((1, True))
        made.check()


@in_the_loop
async def test_a_connection_alone_does_not_end_the_lateness(writer: Writer) -> None:
    async with connected(writer) as (made, turns):
        turns.take("1", [entry()])
        await asyncio.sleep(recorder.LONGEST_WAIT_SECONDS + 0.2)

        writer.hang_up()
        await writer.accept()
        await asyncio.sleep(0.05)
        with pytest.raises(JournalUnavailable):
            made.check()
        await writer.tell((wire.STATE, False))
        with pytest.raises(JournalUnavailable):
            made.check()
        await writer.tell((wire.STATE, True))

        made.check()


@in_the_loop
async def test_receipts_are_sent_again_to_the_next_writer(writer: Writer) -> None:
    async with connected(writer) as (made, turns):
        turns.take("1", [entry()])
        writer.hang_up()
        await asyncio.sleep(0.02)
        made.check()
        turns.take("2", [entry()])
        await writer.accept()
        await asyncio.sleep(0.05)

        await writer.tell((1, True))
        await writer.tell((2, True))

        assert turns.left == ["1", "2"]


@in_the_loop
async def test_the_next_writer_is_told_of_a_refused_batch_before_the_end(writer: Writer) -> None:
    call = ids.new()
    async with connected(writer) as (made, _):
        writer.hang_up()
        made.refused_call(call)
        ending = asyncio.create_task(made.finish(10.0))
        await writer.accept()
        await asyncio.sleep(0.3)
        (group,) = writer.received()
        (told,) = [events.read(one) for one in group.entries]
        is_waited_for = not ending.done()
        await writer.tell((group.number, True))
        await asyncio.wait_for(ending, 1.0)

    assert isinstance(told, events.Unanswered)
    assert (told.subject, told.is_of_a_call, is_waited_for) == (call, True, True)


@in_the_loop
async def test_the_end_waits_no_longer_for_a_writer_than_it_was_told(writer: Writer) -> None:
    async with connected(writer) as (made, turns):
        turns.take("1", [entry()])

        await asyncio.wait_for(made.finish(0.1), 0.5)

    assert turns.left == []


@in_the_loop
async def test_without_a_writer_only_the_first_decisions_wait(tmp_path: Path) -> None:
    made = Recorder(tmp_path / "nowhere", ServedModel(), Counts())
    turns = Turns(made)
    made.begin()
    turns.take("1", [entry()])

    await asyncio.sleep(recorder.LONGEST_WAIT_SECONDS + 0.3)

    assert turns.left == ["no 1"]
    with pytest.raises(JournalUnavailable):
        made.check()
    made._task.cancel()


def test_without_a_writer_nothing_is_recorded(tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable):
        client.append(tmp_path / "nowhere", [entry()])


def test_ids_of_receipts_are_uuids_of_version_7_in_the_order_of_their_making() -> None:
    made = [ids.written(entry().id) for _ in range(100)]

    assert made == sorted(made)
    assert {one[14] for one in made} == {"7"}
