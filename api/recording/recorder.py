"""Keeps answers back until the receipts of their decisions are on the disk: in a worker's event loop.

The receipts of one turn of the loop go to the writer (api/recording/writer_process.py) as a group, and the
answers of that turn leave when the writer confirms it. Until then, the receipts of all turns that follow are
the next group. In the place of answers that wait too long, refusals leave; then nothing more is decided until
the writer says something again. Nor is anything decided while it says that the journal cannot be written.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from api import logs
from api.delivery.served import Model, ServedModel
from api.paths import PREDICT
from api.recording import short_path, wire
from api.recording.receipts import Receipts
from api.recording.records import UNAVAILABLE, WRITABLE, Asked, Heard, RecordingCounts
from api.recording.wire import Outgoing
from journal import ids
from journal.events import Served, Unanswered
from journal.record import Entry, Kind
from mlflow_model.errors import JournalUnavailable, ModelUnavailable

LONGEST_WAIT_SECONDS = 0.8  # of an answer: its client shall hear within a second
ENOUGH = 64  # receipts, not to wait for more
_LOOK_SECONDS, _END_LOOK_SECONDS = 0.1, 0.02

_errors = logging.getLogger(logs.ERRORS)


@dataclass(eq=False)
class _Group:
    """The receipts of some turns, and of each turn what lets its answers or refusals leave."""

    since: float
    entries: list[Entry] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    turns: list[tuple[Callable[[], None], Callable[[], None]]] = field(default_factory=list)

    def settle(self, *, is_written: bool) -> None:
        """Let answers leave in their order."""
        for go, refuse in self.turns:
            (go if is_written else refuse)()
        for heard in self.heard:
            heard(leaves=is_written)

    @property
    def refusals(self) -> list[Entry]:
        """What the journal has to be told if this group is refused, or was to be told by it."""
        told = [one for one in self.entries if one.kind is Kind.UNANSWERED]
        return told + [Unanswered(subject=one.id).entry() for one in self.entries if one.kind is Kind.RECEIPT]


class Recorder(asyncio.Protocol):
    """One for each worker, in its event loop. It is the barrier of the outbox."""

    def __init__(self, address: Path, served: ServedModel, counts: RecordingCounts) -> None:
        self.address, self._receipts = address, Receipts("predict")
        self._served, self._counts = served, counts
        self._announced: Model | None = None  # to the journal, as served from now on
        self._entries: list[Entry] = []  # of this turn
        self._heard: list[Heard] = []  # who waits to hear what becomes of them
        self._sent: _Group | None = None  # until the writer answers
        self._next: _Group | None = None
        self._is_gathering = False
        self._number = 0  # of the group that was sent last
        self._transport: asyncio.WriteTransport | None = None
        self._outgoing, self._unread = Outgoing(), b""
        self._is_late, self._is_writable = False, True
        self._refusals: list[Entry] = []  # of what the writer may write all the same

    def begin(self) -> None:
        """Connect, and look from now on whether answers wait too long."""
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._look())

    async def finish(self, seconds: float) -> None:
        """At the end, wait until the writer has answered and knows of all refusals, or so long."""
        until = time.monotonic() + seconds
        while (self._sent or self._next or self._refusals) and time.monotonic() < until:
            await asyncio.sleep(_END_LOOK_SECONDS)

    def refused_call(self, call: bytes) -> None:
        event = Unanswered(subject=call, is_of_a_call=True).entry()
        self._loop.call_soon_threadsafe(self._remember, event)

    def _remember(self, refusal: Entry) -> None:
        self._refusals.append(refusal)

    @property
    def state(self) -> str:
        return UNAVAILABLE if self._is_late or not self._is_writable else WRITABLE

    def check(self) -> None:
        """Raises JournalUnavailable where the journal cannot be written: then nothing is to be decided."""
        if self.state is UNAVAILABLE:
            raise JournalUnavailable

    def record(
        self,
        model: Model,
        client: Mapping[str, Any],
        decision: Mapping[str, Any],
        asked: Asked,
        heard: Heard,
    ) -> str:
        """Have the answers of this turn wait for a receipt. Return its id.

        Raises BadReference or CannotKeep.
        """
        receipt = self._receipts.of(model, client, decision, asked)
        if model is not self._announced:
            self._entries.append(self._announcement(model))
        self._entries.append(receipt)
        self._heard.append(heard)
        return ids.written(receipt.id)

    def _announcement(self, model: Model) -> Entry:
        """Says that the version is served from now on. It must be sent."""
        self._announced = model
        return Served(model=self._receipts.described(model)).entry()

    # ---- The outbox's barrier

    def when_open(self, go: Callable[[], None], refuse: Callable[[], None]) -> None:
        entries, self._entries = self._entries, []
        heard, self._heard = self._heard, []
        if entries:
            self._take(entries, heard, go, refuse)
        elif last := self._next or self._sent:
            last.turns.append((go, go))
        else:
            go()

    def _take(
        self,
        entries: Sequence[Entry],
        heard: Sequence[Heard],
        go: Callable[[], None],
        refuse: Callable[[], None],
    ) -> None:
        """Send these receipts, or let them wait for the answer to those that are sent: so groups grow."""
        group = self._next = self._next or _Group(time.monotonic())
        group.entries += entries
        group.heard += heard
        group.turns.append((go, refuse))
        if self._sent is None and not self._is_gathering:
            self._send_next()
        self._count_the_waiting()

    def _gather(self, before: int) -> None:
        """Send the next group, unless this turn of the loop has brought more of it."""
        if self._next is None:
            self._is_gathering = False
            return
        receipts = len(self._next.entries) + len(self._entries)
        self._is_gathering = before < receipts < ENOUGH
        if self._is_gathering:
            asyncio.get_running_loop().call_soon(self._gather, receipts)
        else:
            self._send_next()

    def _send_next(self) -> None:
        self._sent, self._next = self._next, None
        self._number += 1
        self._send()

    def _send(self) -> None:
        if self._sent is None or self._transport is None:  # then as soon as there is a connection
            return
        self._transport.write(self._outgoing.message(self._number, self._sent.entries))

    # ---- What the writer says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._outgoing, self._unread = Outgoing(), b""  # whether it is late, the writer's first word tells
        self._send()  # again, perhaps: the writer writes no receipt twice

    def data_received(self, data: bytes) -> None:
        answers, self._unread = wire.answers(self._unread + data)
        self._is_late = False
        for number, is_written in answers:
            if number == wire.STATE:
                self._is_writable = is_written
            elif number == self._number and self._sent is not None:  # or it has been refused meanwhile
                group, self._sent = self._sent, None
                self._settle(group, is_written=is_written)
        if self._sent is None and self._next is not None and not self._is_gathering:
            self._gather(0)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def _settle(self, group: _Group, *, is_written: bool) -> None:
        group.settle(is_written=is_written)
        if is_written and group.heard:
            self._counts.recorded(PREDICT.path, len(group.heard), time.monotonic() - group.since)
        elif not is_written:
            self._announced = None  # it may have been announced in vain
            self._refusals += group.refusals
        self._count_the_waiting()

    def _count_the_waiting(self) -> None:
        self._counts.let_wait(sum(len(group.heard) for group in (self._sent, self._next) if group))

    # ---- How long it takes

    async def _look(self) -> None:
        while True:
            try:
                await self._connect()
                self._announce_the_served()
                self._tell_of_the_refused()
                self._refuse_the_late(time.monotonic())
            except Exception as error:  # noqa: BLE001 - whoever waits would wait for ever
                _errors.error("internal error in the recorder: %s", logs.told(error))
            await asyncio.sleep(_LOOK_SECONDS)

    async def _connect(self) -> None:
        if self._transport is None:
            with contextlib.suppress(OSError), short_path.of(self.address) as path:
                await asyncio.get_running_loop().create_unix_connection(lambda: self, path)

    def _announce_the_served(self) -> None:
        """Also where nobody asks for a decision: the journal tells from when on a version was served."""
        with contextlib.suppress(JournalUnavailable, ModelUnavailable):
            self.check()
            if self._transport is not None and self._served.model is not self._announced:
                self._take([self._announcement(self._served.model)], [], _nothing, _nothing)

    def _tell_of_the_refused(self) -> None:
        """As soon as the journal is written again: their receipts do not count as answered."""
        if self._refusals and self._transport is not None and self.state is WRITABLE:
            refusals, self._refusals = self._refusals, []
            self._take(refusals, [], _nothing, _nothing)

    def _refuse_the_late(self, now: float) -> None:
        if self._sent is None or now - self._sent.since < LONGEST_WAIT_SECONDS:
            return
        self._is_late = True
        late, self._sent, self._next = (self._sent, self._next), None, None
        for group in filter(None, late):
            self._settle(group, is_written=False)


def _nothing() -> None:
    """No answer waits for this group."""
