"""Keeps answers back until the receipts of their decisions are on the disk: in a worker's event loop.

The receipts of one turn of the loop are a group. It goes to the writer (api/recording/writer_process.py), and
the answers of that turn leave when the writer confirms it. In the place of answers that wait too long,
refusals leave; then nothing more is decided until the writer says something again. Nor is anything decided
while it says that the journal cannot be written.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from journal.events import Served
from journal.record import Entry
from mlflow_model.errors import JournalUnavailable, ModelUnavailable

LONGEST_WAIT_SECONDS = 0.8  # of an answer: its client shall hear within a second
_LOOK_SECONDS = 0.1

_errors = logging.getLogger(logs.ERRORS)


@dataclass(eq=False)
class _Group:
    """The answers of one turn, and the receipts that they wait for.

    `is_written`: None until that is known.
    """

    entries: Sequence[Entry]
    heard: Sequence[Heard]
    go: Callable[[], None]
    refuse: Callable[[], None]
    is_written: bool | None
    since: float


class Recorder(asyncio.Protocol):
    """One for each worker, in its event loop. It is the barrier of the outbox."""

    def __init__(self, address: Path, served: ServedModel, counts: RecordingCounts) -> None:
        self.address, self._receipts = address, Receipts("predict")
        self._served, self._counts = served, counts
        self._announced: Model | None = None  # to the journal, as served from now on
        self._entries: list[Entry] = []  # of this turn
        self._heard: list[Heard] = []  # who waits to hear what becomes of them
        self._groups: deque[_Group] = deque()
        self._sent: dict[int, _Group] = {}  # by number, until the writer answers
        self._number = 0
        self._transport: asyncio.WriteTransport | None = None
        self._outgoing, self._unread = Outgoing(), b""
        self._is_late, self._is_writable = False, True

    def begin(self) -> None:
        """Connect, and look from now on whether answers wait too long."""
        self._task = asyncio.get_running_loop().create_task(self._look())

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
        if entries or self._groups:
            self._take(entries, heard, go, refuse)
        else:
            go()

    def _take(
        self,
        entries: Sequence[Entry],
        heard: Sequence[Heard],
        go: Callable[[], None],
        refuse: Callable[[], None],
    ) -> None:
        group = _Group(entries, heard, go, refuse, None if entries else True, time.monotonic())
        self._groups.append(group)
        if entries:
            self._number += 1
            self._sent[self._number] = group
            self._send(self._number, group)
            self._counts.let_wait(self._waiting)

    def _send(self, number: int, group: _Group) -> None:
        if self._transport is not None:  # otherwise it is sent as soon as there is a connection
            self._transport.write(self._outgoing.message(number, group.entries))

    # ---- What the writer says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._outgoing, self._unread = Outgoing(), b""  # whether it is late, the writer's first word tells
        for number, group in self._sent.items():
            self._send(number, group)  # again, perhaps: the writer writes no receipt twice

    def data_received(self, data: bytes) -> None:
        answers, self._unread = wire.answers(self._unread + data)
        self._is_late = False
        for number, is_written in answers:
            if number == wire.STATE:
                self._is_writable = is_written
            elif group := self._sent.pop(number, None):  # or its answers have been refused meanwhile
                group.is_written = is_written
        self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def _settle(self) -> None:
        """Let answers leave in their order, or the refusals in their place."""
        while self._groups and self._groups[0].is_written is not None:
            group = self._groups.popleft()
            (group.go if group.is_written else group.refuse)()
            for heard in group.heard:
                heard(leaves=bool(group.is_written))
            self._count(group)

    def _count(self, group: _Group) -> None:
        if group.is_written and group.heard:
            self._counts.recorded(PREDICT.path, len(group.heard), time.monotonic() - group.since)
        elif group.entries and not group.is_written:
            self._announced = None  # it may have been announced in vain
        self._counts.let_wait(self._waiting)

    @property
    def _waiting(self) -> int:
        """The receipts that are not known to be on the disk."""
        return sum(len(group.heard) for group in self._sent.values())

    # ---- How long it takes

    async def _look(self) -> None:
        while True:
            try:
                await self._connect()
                self._announce_the_served()
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

    def _refuse_the_late(self, now: float) -> None:
        if not self._sent or now - next(iter(self._sent.values())).since < LONGEST_WAIT_SECONDS:
            return
        self._is_late = True
        for group in self._sent.values():
            group.is_written = False
        self._sent.clear()
        self._settle()


def _nothing() -> None:
    """No answer waits for this group."""
