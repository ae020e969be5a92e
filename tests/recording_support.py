"""What the proofs of the recording share: a load that remembers every answer, and the journal beside it."""

import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest
import sqlalchemy as sa

from journal import ids, listing, reading, store
from journal.listing import Wanted
from journal.record import Kind
from journal.verification import verify
from tests import servers
from tests.live import children_of
from tests.servers import JSON, SocketDoor

WRITER, WORKER = "api.recording.writer_process", "api.server.worker"
WITHIN = 1.5  # seconds: a refusal's second, and what a busy machine adds
_ID = re.compile(rb"(?i)\r\nx-decision-id: (\S+)\r\n")
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: (\d+)\r\n")


class Met(NamedTuple):
    """An answer as a client met it. `at`: when it was asked for, on the monotonic clock."""

    status: int
    at: float
    seconds: float


class _Lost(OSError):
    """The connection ended before the answer."""


class _Line:
    """A kept connection that sends one request at a time."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        self._socket.close()

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """The status, and the head of the answer. Raises OSError."""
        self._socket.sendall(request)
        head, _, body = self._read(b"").partition(b"\r\n\r\n")
        head += b"\r\n"
        found = _LENGTH.search(head)
        while found is not None and len(body) < int(found[1]):
            body = self._read(body)
        return int(head[9:12]), head

    def _read(self, before: bytes) -> bytes:
        piece = self._socket.recv(65_536)
        if not piece:
            raise _Lost
        return before + piece


@dataclass
class Load:
    """Clients that ask for decisions, each time under a new reference, and remember what they were told.

    `rate`: requests a second together; 0 for as many as are answered. `given`: the id of the decision that
    was answered to each reference.
    """

    port: int
    client: Mapping[str, object]
    rate: float = 300.0
    threads: int = 16
    name: str = "r"
    met: list[Met] = field(default_factory=list)
    given: dict[str, str] = field(default_factory=dict)
    lost: int = 0
    _is_over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def going_on(self) -> Iterator["Load"]:
        running = [threading.Thread(target=self._ask, args=[number]) for number in range(self.threads)]
        for thread in running:
            thread.start()
        try:
            yield self
        finally:
            self._is_over.set()
            for thread in running:
                thread.join()

    @property
    def statuses(self) -> Counter[int]:
        return Counter(one.status for one in self.met)

    @property
    def longest(self) -> float:
        """How long anybody waited for an answer, in seconds."""
        return max(one.seconds for one in self.met)

    def since(self, moment: float) -> list[Met]:
        return [one for one in self.met if one.at >= moment]

    def answers_again(self, count: int = 20) -> None:
        before = len(self.given)
        servers.eventually(lambda: len(self.given) > before + count or None, "decisions")

    def refuses(self) -> None:
        """Wait until everybody is refused."""
        servers.eventually(lambda: {one.status for one in self.met[-30:]} == {503} or None, "refusals")

    def _ask(self, thread: int) -> None:
        number, due = 0, time.monotonic()
        while not self._is_over.is_set():
            try:
                with closing(_Line(self.port)) as line:
                    for _ in range(20):
                        if self._is_over.is_set():
                            return
                        due = self._wait(due)
                        number += 1
                        if self._decide(line, f"{self.name}-{thread}-{number}"):
                            break
            except OSError:  # whoever was asked is gone, or not there yet
                self.lost += 1
                time.sleep(0.02)

    def _wait(self, due: float) -> float:
        """Until a request is due. Those who had to wait for an answer do not make up for it."""
        if not self.rate:
            return due
        pause = due - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        return max(due, time.monotonic() - 0.1) + self.threads / self.rate

    def _decide(self, line: _Line, reference: str) -> bool:
        """Whether the server said that this was the connection's last answer."""
        started = time.monotonic()
        status, head = line.ask(self._request(reference))
        self.met.append(Met(status, started, time.monotonic() - started))
        if status == 200:
            found = _ID.search(head)
            assert found is not None
            self.given[reference] = found[1].decode()
        return b"\r\nconnection: close\r\n" in head.lower()

    def _request(self, reference: str) -> bytes:
        body = json.dumps(self.client).encode()
        lines = ["POST /predict HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (JSON | {"X-Client-Reference": reference}).items()]
        return "\r\n".join([*lines, "", ""]).encode() + body


# ---- The journal, held against what clients were told


def sqlite_in(folder: Path) -> str:
    return f"sqlite:///{folder / 'journal.db'}"


@contextmanager
def journal_of(url: str) -> Iterator[store.Journal]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JOURNAL_URL", url)
        with closing(store.opened()) as journal:
            yield journal


def make_journal(url: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JOURNAL_URL", url)
        store.make()[0].close()


def findings(url: str) -> list[str]:
    with journal_of(url) as journal, journal.reading() as connection:
        return verify(connection).findings


def written(url: str) -> list[tuple[str, str]]:
    """The reference and the id of each receipt."""
    with journal_of(url) as journal, journal.reading() as connection:
        records = [one for page in reading.records(connection) for one in page if one.kind is Kind.RECEIPT]
    return [(one.client.client_reference if one.client else "", ids.written(one.id)) for one in records]


def answered(url: str) -> set[str]:
    """The ids of the decisions that count as answered."""
    with journal_of(url) as journal, journal.reading() as connection:
        receipts = [one for page in listing.all_of(connection, Wanted()) for one in page]
        unanswered = listing.unanswered(connection, receipts)
    return {ids.written(one.id) for one in receipts if one.id not in unanswered}


def held_against(url: str, *loads: Load) -> None:
    """All that left is in the journal under the id that was told, nothing is there twice, and it verifies."""
    found = written(url)
    given = {pair for load in loads for pair in load.given.items()}
    assert given
    assert given - set(found) == set()
    assert [pair for pair, count in Counter(pair[0] for pair in found).items() if count > 1] == []
    assert findings(url) == []


def is_whole(file: Path) -> bool:
    """SQLite's own look at every page."""
    engine = sa.create_engine(f"sqlite:///{file}", poolclass=sa.NullPool)
    with engine.connect() as connection:
        return bool(connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok")


@contextmanager
def locked(url: str) -> Iterator[None]:
    """As by somebody who begins a transaction and forgets it."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        is_sqlite = engine.dialect.name == "sqlite"
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_sqlite else "SELECT * FROM journal FOR UPDATE")
        yield


# ---- The service


@contextmanager
def recording(
    pickle: Path,
    folder: Path,
    url: str,
    workers: int = 1,
    log: str = "log",
    port: int = 0,
    more: Mapping[str, str] | None = None,
) -> Iterator[SocketDoor]:
    """A service with this journal, as soon as it has a model. It may be unable to write."""
    environment = servers.alone(pickle, folder) | {"JOURNAL_URL": url} | dict(more or {})
    options = ("--workers", str(workers), *(("--port", str(port)) if port else ()))
    with servers.api(environment, folder / log, options=options) as door:
        servers.ready(door)
        yield door


def writer_of(door: SocketDoor) -> int:
    return servers.eventually(lambda: next(iter(children_of(door, WRITER)), None), "a writer")


def replaced(door: SocketDoor, module: str, victim: int) -> None:
    """Wait until another process of this module is there."""
    servers.eventually(lambda: set(children_of(door, module)) - {victim} or None, "another one")
