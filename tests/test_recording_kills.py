"""Fifty kills under load, of every process that a decision passes: the journal has what clients were told."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.live import children_of
from tests.neighbours import Cluster, cluster, wait_for
from tests.recording_support import (
    WORKER,
    WRITER,
    Load,
    held_against,
    is_whole,
    make_journal,
    recording,
    replaced,
    sqlite_in,
)
from tests.servers import SocketDoor

Client = dict[str, Any]
_chance = random.Random(26)  # noqa: S311 - the moments are random enough by themselves


def _soon() -> None:
    time.sleep(_chance.uniform(0.05, 0.6))


def _kill_one(door: SocketDoor, module: str) -> None:
    """Kill one process of this module, and wait until another has taken its place."""
    victim = _chance.choice(servers.eventually(lambda: children_of(door, module) or None, "a process"))
    os.kill(victim, signal.SIGKILL)
    replaced(door, module, victim)


def _kill_in_turn(door: SocketDoor, load: Load, modules: tuple[str, ...]) -> None:
    for module in modules:
        _soon()
        _kill_one(door, module)
        load.answers_again()


@pytest.mark.slow
def test_kills_of_workers_and_of_the_writer_lose_and_double_no_decision(
    documented_pickle: Path, documented_request: Client, tmp_path: Path
) -> None:
    url = sqlite_in(tmp_path)
    with (
        recording(documented_pickle, tmp_path, url, workers=2) as door,
        Load(door.port, documented_request).going_on() as load,
    ):
        _kill_in_turn(door, load, 10 * (WORKER, WRITER))

    held_against(url, load)
    assert is_whole(tmp_path / "journal.db")
    assert load.statuses.keys() <= {200, 503}


def _kill_supervisor(door: SocketDoor) -> None:
    """The kernel kills all others."""
    os.kill(door.pid, signal.SIGKILL)


def _kill_all(door: SocketDoor) -> None:
    for pid in [*servers.descendants(door.pid), door.pid]:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.endurance
def test_a_service_that_is_killed_whole_and_started_again_has_lost_and_doubled_no_decision(
    documented_pickle: Path, documented_request: Client, tmp_path: Path
) -> None:
    """Ten lives on one port, as a system that restarts it would give it."""
    url, port = sqlite_in(tmp_path), servers.free_port()
    with Load(port, documented_request).going_on() as load:
        for life in range(10):
            with recording(documented_pickle, tmp_path, url, 2, f"log-{life}", port) as door:
                load.answers_again()
                _soon()
                (_kill_all if life % 2 else _kill_supervisor)(door)

    held_against(url, load)
    assert is_whole(tmp_path / "journal.db")
    assert load.statuses.keys() <= {200, 503}


@contextmanager
def _recorded_in(made: Cluster, pickle: Path, folder: Path) -> Iterator[SocketDoor]:
    with recording(pickle, folder, made.url, workers=2) as door:
        yield door


def _kill_backend(server: subprocess.Popen[bytes]) -> None:
    """The one that serves the writer, at which PostgreSQL ends all others and recovers by itself."""
    serving = [pid for pid in servers.descendants(server.pid) if "mlflow" in servers.command_line(pid)]
    os.kill(_chance.choice(serving), signal.SIGKILL)


def _kill_server(server: subprocess.Popen[bytes]) -> None:
    for pid in [server.pid, *servers.descendants(server.pid)]:
        os.kill(pid, signal.SIGKILL)
    server.wait(10)


@pytest.mark.endurance
def test_kills_of_postgresql_and_of_those_who_write_to_it_lose_and_double_no_decision(
    documented_pickle: Path, documented_request: Client, tmp_path: Path
) -> None:
    with cluster() as made:
        with made.running():
            wait_for(made.url)
            make_journal(made.url)
        # The service starts while its database is away.
        with (
            _recorded_in(made, documented_pickle, tmp_path) as door,
            Load(door.port, documented_request).going_on() as load,
        ):
            for _ in range(5):
                with made.running() as server:
                    load.answers_again()
                    _kill_in_turn(door, load, (WRITER, WORKER))
                    _soon()
                    _kill_backend(server)
                    load.answers_again()
                    _soon()
                    _kill_server(server)
                    load.refuses()
        with made.running():
            wait_for(made.url)
            held_against(made.url, load)
    assert load.statuses.keys() <= {200, 503}
