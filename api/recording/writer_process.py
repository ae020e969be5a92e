"""`python -m api.recording.writer_process LISTENER`: the one process of a service that writes to its journal.

Those who decide connect to the inherited socket and send groups of records (api/recording/wire.py). What has
come from all of them while others were written is written together: so many share the disk's time. While the
journal cannot be written, every group is refused at once, and the next one is tried again.
"""

import contextlib
import logging
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from api import logs
from api.recording import wire
from api.recording.keeper import WRITES
from api.recording.wire import Garbled, Group, Incoming
from journal import events, listing, store
from journal.code_version import code_version
from journal.errors import Damaged, JournalError, Refused, Twice
from journal.models import Model
from journal.record import Entry, Kind
from journal.writer import Writer
from mlflow_model import processes

PATIENCE_SECONDS = 0.5  # for a lock, or a server: those who wait must hear within a second
TURN_SECONDS = 0.5
_BETWEEN_ATTEMPTS, _LONGEST_PAUSE = 0.5, 20.0
_PIECE = 1024**2
MOST_RECORDS, SMALL = 2_000, 200  # of a transaction, and of a group that is no part of a batch
_BACKLOG_BYTES = 4 * 1024**2  # of answers that somebody does not take

_log = logging.getLogger("scoring_client")


class Sender:
    """One who decides, and the groups that have come from there."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._incoming = Incoming()
        self._unsent = b""

    def groups(self) -> list[Group]:
        """What has come whole. Raises EOFError at the end, Garbled or OSError."""
        piece = self.connection.recv(_PIECE)
        if not piece:
            raise EOFError
        return [*self._incoming.feed(piece)]

    def tell(self, answers: bytes) -> None:
        """Send what became of groups, as far as it is taken. Raises OSError for one who takes nothing."""
        self._unsent += answers
        with contextlib.suppress(BlockingIOError):
            self._unsent = self._unsent[self.connection.send(self._unsent) :]
        if len(self._unsent) > _BACKLOG_BYTES:
            raise OSError


_Waiting = tuple[Sender, Group]


class Recording:
    """Writes what comes at the listener, turn by turn, in one thread."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._senders: set[Sender] = set()
        self._journal: store.Journal | None = None
        self._writer: Writer | None = None
        self._former: store.Journal | None = None
        self._open_at = self._probe_at = self._beat_at = 0.0  # not before
        self._problem: str | None = None
        self._logged: str | None = None  # the last problem that was not followed by a written group
        self._pause = _BETWEEN_ATTEMPTS
        self._damaging: list[Entry] = []  # what was written when the database called the journal damaged
        self._served: Model | None = None
        self._is_ending = False
        self._waiting: list[_Waiting] = []

    def run(self) -> None:
        """Until SIGTERM, and then what has come already."""
        signal.signal(signal.SIGTERM, self._end)
        self._probe()
        while not self._is_ending or self._waiting:
            self._turn()
        for sender in [*self._senders]:  # so that the writer in this one's place hears them at once
            self._lose(sender)
        if self._writer is not None:
            with contextlib.suppress(JournalError):
                self._writer.close()

    def _end(self, *_: object) -> None:
        self._is_ending = True

    def _turn(self) -> None:
        for key, _ in self._selector.select(0.0 if self._waiting else TURN_SECONDS):
            if key.data is None:
                self._accept()
            else:
                self._waiting += self._heard(key.data)
        if self._waiting:
            self._write(self._next())
        elif self._problem is not None and time.monotonic() >= self._probe_at:
            self._probe()
        self._beat()

    def _beat(self) -> None:
        """Once in a while: it wakes whoever started this process."""
        now = time.monotonic()
        if now >= self._beat_at:
            self._beat_at = now + TURN_SECONDS / 2
            _beat(WRITES if self._problem is None else b".")

    def _next(self) -> list[_Waiting]:
        """What the next transaction takes: small groups, up to a bound, and one large group at the most.

        So a batch keeps nobody waiting for longer than a part of it takes, and is not kept waiting itself.
        """
        small = [one for one in self._waiting if len(one[1].entries) <= SMALL]
        large = [one for one in self._waiting if len(one[1].entries) > SMALL]
        taken, records = list[_Waiting](), 0
        while small and records < MOST_RECORDS:
            taken.append(small.pop(0))
            records += len(taken[-1][1].entries)
        taken += large[:1]
        self._waiting = small + large[1:]
        return taken

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            sender = Sender(connection)
            self._senders.add(sender)
            self._selector.register(connection, selectors.EVENT_READ, sender)
            self._tell(sender, self._state())

    def _heard(self, sender: Sender) -> Iterator[_Waiting]:
        try:
            for group in sender.groups():
                yield sender, group
        except BlockingIOError:
            return
        except (EOFError, Garbled, OSError):
            self._lose(sender)

    def _lose(self, sender: Sender) -> None:
        """Close a connection, once: several answers may have failed."""
        if sender in self._senders:
            self._senders.remove(sender)
            self._selector.unregister(sender.connection)
            sender.connection.close()

    def _tell(self, sender: Sender, answers: bytes) -> None:
        try:
            sender.tell(answers)
        except OSError:
            self._lose(sender)

    def _state(self) -> bytes:
        return wire.answer(wire.STATE, is_written=self._problem is None)

    # ---- Writing

    def _write(self, waiting: Sequence[_Waiting]) -> None:
        """All in one transaction; one by one if one of them is to blame for a refusal."""
        try:
            self._append([group for _, group in waiting])
            written = [True] * len(waiting)
        except Refused:
            written = [self._is_appended(group) for _, group in waiting]
        except JournalError:
            written = [False] * len(waiting)
        answers: dict[Sender, bytes] = {}
        for (sender, group), is_written in zip(waiting, written, strict=True):
            answers[sender] = answers.get(sender, b"") + wire.answer(group.number, is_written=is_written)
        for sender, told in answers.items():
            self._tell(sender, told)

    def _is_appended(self, group: Group) -> bool:
        _beat()
        try:
            self._append([group])
        except Twice:  # perhaps sent again, by one who did not hear that it was written
            return self._holds(group)
        except JournalError:
            return False
        return True

    def _holds(self, group: Group) -> bool:
        try:
            told_once = (Kind.SERVED, Kind.UNANSWERED)
            return self._open().holds([one for one in group.entries if one.kind not in told_once])
        except JournalError:
            return False

    def _append(self, groups: Sequence[Group]) -> None:
        """Raises JournalError. A journal that was moved or replaced is opened again."""
        entries = [entry for group in groups for entry in group.entries]
        try:
            if self._damaging:
                self._open().rehearse(self._damaging)
            self._write_down(entries)
        except Refused:
            raise
        except JournalError as error:
            if isinstance(error, Damaged):
                self._damaging = self._damaging or entries
            self._fails(str(error), is_real=bool(groups))
            if self._journal is not None and not self._journal.is_in_place:
                self._forget()
            raise
        self._damaging = []
        self._works(is_real=bool(groups))

    def _write_down(self, entries: Sequence[Entry]) -> None:
        """Raises JournalError, also without entries.

        Each of those who decide says that a version is served from now on: the first of them is heard.
        """
        served, new = self._served, []
        for entry in entries:
            if entry.kind is not Kind.SERVED or entry.model != served:
                new.append(entry)
                served = entry.model if entry.kind is Kind.SERVED else served
        with self._open().group() as group:
            if any(entry.kind is Kind.UNANSWERED for entry in new):
                new = _with_news_of_refusals(group.connection, new)
            if new:
                group.append(new)
        self._served = served

    def _probe(self) -> None:
        """See whether the journal can be written, by writing what is there already.

        Of a damaged file other parts may be sound: what could not be written is written, too, and taken back.
        """
        with contextlib.suppress(JournalError):  # which is said
            self._append([])

    def _open(self) -> Writer:
        """The writer, made when the journal can be opened. Raises JournalError.

        Only at the beginning a SQLite file is made where there is none: one that is gone later is missed.
        """
        if self._writer is None:
            now = time.monotonic()
            if now < self._open_at:
                raise JournalError(self._problem)
            self._open_at = now + _BETWEEN_ATTEMPTS
            self._journal = (
                _made() if self._former is None else store.reopened(self._former, PATIENCE_SECONDS)
            )
            self._former = self._journal
            self._writer = Writer(self._journal, "service", code_version())
        return self._writer

    def _forget(self) -> None:
        if self._journal is not None:
            self._journal.close()
        self._journal = self._writer = self._served = None

    # ---- What is said of it

    def _works(self, *, is_real: bool) -> None:
        """Something was written. Only after a real group this is logged: it may have been too little."""
        if is_real:
            self._pause = _BETWEEN_ATTEMPTS
            if self._logged is not None:
                _log.info("the journal is written again")
            self._logged = None
        self._become(None)

    def _fails(self, problem: str, *, is_real: bool) -> None:
        """Log another reason only: a full disk would fill with lines.

        Where a real group fails though the last attempt did not, the next attempts come more slowly: a full
        disk may have room for what an attempt writes, and for no more.
        """
        if is_real and self._problem is None and self._logged is not None:
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._probe_at = time.monotonic() + self._pause
        if problem != self._logged:
            _log.error("the journal cannot be written: %s", problem)
        self._logged = problem
        self._become(problem)

    def _become(self, problem: str | None) -> None:
        """Have those who decide hear whether they shall go on."""
        is_told = (problem is None) == (self._problem is None)
        self._problem = problem
        if not is_told:
            for sender in [*self._senders]:
                self._tell(sender, self._state())


def _with_news_of_refusals(connection: sa.Connection, entries: Sequence[Entry]) -> list[Entry]:
    """Without the refusals that the journal tells of, and those of decisions whose receipts did not come.

    Those of a call stay: its last receipts may come later, by the connection of another process.
    """
    calls, decisions = list[bytes](), list[bytes]()
    for one in entries:
        if one.kind is Kind.UNANSWERED and isinstance(event := events.read(one), events.Unanswered):
            (calls if event.is_of_a_call else decisions).append(event.subject)
    wanted = {*calls} - listing.refused(connection, calls)
    wanted |= listing.counting_as_answered(connection, decisions)
    return [one for one in entries if one.kind is not Kind.UNANSWERED or one.subject in wanted]


def _made() -> store.Journal:
    """A SQLite file is made where there is none; a database's tables are its owner's to make."""
    if store.address().get_backend_name() == "sqlite":
        with _signs_of_life():  # an older one is brought to this code's form, which takes its time
            return store.make(PATIENCE_SECONDS)[0]
    return store.opened(PATIENCE_SECONDS)


@contextlib.contextmanager
def _signs_of_life() -> Iterator[None]:
    is_over = threading.Event()

    def beat() -> None:
        while not is_over.wait(TURN_SECONDS):
            _beat()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _beat(sign: bytes = b".") -> None:
    """Give a sign of life to whoever started this process. `WRITES`: the journal can be written."""
    with contextlib.suppress(OSError):
        os.write(1, sign)


def main() -> None:
    processes.end_with_parent()
    processes.limit()  # no core dump: it would hold clients' values
    logs.configure()
    os.set_blocking(1, False)  # whoever started this process may not listen
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: those who decide end first
    with socket.socket(fileno=int(sys.argv[1])) as listener:
        listener.setblocking(False)
        Recording(listener).run()


if __name__ == "__main__":
    main()
