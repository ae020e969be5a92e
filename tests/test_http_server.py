"""A worker's event loop turns whatever the disk does."""

import socket
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from api.server import http_server
from api.server.http_server import Server


class HangingTally:
    """Its disk answers nobody until it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.begun = self.running = self.most_at_once = 0

    def save(self) -> None:
        self.begun += 1
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        self.released.wait(30)
        self.running -= 1


def test_a_disk_that_hangs_stops_no_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "_SWEEP_SECONDS", 0.01)
    tally = HangingTally()
    begun: list[int] = []

    def beat() -> None:
        begun.append(tally.begun)
        if len(begun) == 10:
            server.end()
            tally.released.set()

    no_model = SimpleNamespace(news=SimpleNamespace(copy=None))
    lane: Any = SimpleNamespace(service=SimpleNamespace(tally=tally, served=no_model))
    server = Server(lane, lambda: None, beat, lambda: None)
    server.run([socket.create_server(("127.0.0.1", 0))])

    assert begun[9] == 1  # nine more beats, while the first save hangs
    assert tally.begun >= 2  # the last save still happens
    assert tally.most_at_once == 1


def test_a_disk_that_hangs_does_not_stop_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "_LAST_SAVE_SECONDS", 0.01)
    tally = HangingTally()
    no_model = SimpleNamespace(news=SimpleNamespace(copy=None))
    lane: Any = SimpleNamespace(service=SimpleNamespace(tally=tally, served=no_model))
    server = Server(lane, lambda: server.end(), lambda: None, lambda: None)

    server.run([socket.create_server(("127.0.0.1", 0))])

    assert (tally.begun, tally.running) == (1, 1)
    tally.released.set()
