"""Records decisions where a server has a thread for each request: it waits until the receipt is there.

So `gunicorn api.app:app` and `--debug` keep the journal, too. Each process that answers has a writer.
"""

import atexit
import contextlib
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from api import private_folder
from api.delivery.served import Model
from api.paths import PREDICT
from api.recording import client as writer_client
from api.recording.keeper import Keeper
from api.recording.receipts import Receipts
from api.recording.records import UNAVAILABLE, WRITABLE, Asked, Heard, RecordingCounts
from journal import ids
from journal.events import Served, Unanswered
from journal.record import Entry
from mlflow_model.errors import JournalUnavailable

_PATIENCE_SECONDS = 0.8  # of an answer: its client shall hear within a second
_STARTING_SECONDS = 10.0


class Waiting:
    """The writer starts with the first question, in the process that is asked: perhaps a fork."""

    def __init__(self, counts: RecordingCounts) -> None:
        self._counts, self._receipts = counts, Receipts("predict")
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self._keeper: Keeper | None = None
        self._announced: Model | None = None
        self._refusals: list[Entry] = []  # of what the writer may write all the same
        self._starting_until = 0.0

    @property
    def address(self) -> Path:
        with self._lock:
            if self._keeper is None:
                self._folder = private_folder.make()
                self._keeper = Keeper(self._folder)
                self._starting_until = time.monotonic() + _STARTING_SECONDS
                atexit.register(self._end, os.getpid())
            return self._keeper.address

    def _end(self, pid: int) -> None:
        if pid == os.getpid() and self._keeper is not None and self._folder is not None:
            if self._refusals:
                with contextlib.suppress(JournalUnavailable):
                    writer_client.append(self._keeper.address, self._refusals)
            self._keeper.stop()
            private_folder.remove(self._folder)

    @property
    def state(self) -> str:
        """As the writer says. While it starts, its word is waited for."""
        address = self.address
        return WRITABLE if writer_client.is_writable(address, self._patience()) else UNAVAILABLE

    def _patience(self) -> float:
        """The seconds that a question may take, once the address is asked for."""
        return max(_PATIENCE_SECONDS, self._starting_until - time.monotonic())

    def check(self) -> None:
        """Every decision tries anew."""

    def refused_call(self, call: bytes) -> None:
        with self._lock:
            self._refusals.append(Unanswered(subject=call, is_of_a_call=True).entry())

    def record(
        self,
        model: Model,
        client: Mapping[str, Any],
        decision: Mapping[str, Any],
        asked: Asked,
        heard: Heard,
    ) -> str:
        """Return when the receipt is on the disk. Raises BadReference, CannotKeep or JournalUnavailable."""
        receipt = self._receipts.of(model, client, decision, asked)
        entries, started = [receipt], time.monotonic()
        if model is not self._announced:
            entries.insert(0, Served(model=self._receipts.described(model)).entry())
        self._append(entries, receipt.id)
        self._announced, self._starting_until = model, 0.0
        self._counts.recorded(PREDICT.path, 1, time.monotonic() - started)
        heard(leaves=True)
        return ids.written(receipt.id)

    def _append(self, entries: list[Entry], decision: bytes) -> None:
        """Tell the journal of those that were refused, too. Raises JournalUnavailable."""
        address = self.address
        with self._lock:
            refusals, self._refusals = self._refusals, []
        try:
            writer_client.append(address, entries, self._patience(), closing=refusals)
        except JournalUnavailable:
            with self._lock:
                self._refusals += [*refusals, Unanswered(subject=decision).entry()]
            raise
