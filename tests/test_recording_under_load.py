"""A minute at full load, with many workers, many services and workers that are exchanged: nothing is lost.

SECONDS_OF_LOAD=300 makes it five minutes.
"""

import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.live import children_of, workers_of
from tests.neighbours import cluster, wait_for
from tests.recording_support import (
    WRITER,
    Load,
    held_against,
    make_journal,
    recording,
    sqlite_in,
    writer_of,
)
from tests.servers import SocketDoor

Client = dict[str, Any]
SECONDS = float(os.environ.get("SECONDS_OF_LOAD", "60"))


def _reported(*loads: Load) -> None:
    answers = sum(len(load.met) for load in loads)
    longest = max(load.longest for load in loads)
    print(f"{answers} answers in {SECONDS:.0f} s, the longest after {longest:.3f} s")  # noqa: T201 - with -s


@pytest.mark.endurance
@pytest.mark.timeout(0)
def test_four_workers_at_full_load_lose_and_double_no_decision(
    documented_pickle: Path, documented_request: Client, tmp_path: Path
) -> None:
    url = sqlite_in(tmp_path)
    with (
        recording(documented_pickle, tmp_path, url, workers=4) as door,
        Load(door.port, documented_request, rate=0).going_on() as load,
    ):
        time.sleep(SECONDS)

    _reported(load)
    held_against(url, load)
    assert (set(load.statuses), load.lost) == ({200}, 0)


@pytest.mark.endurance
@pytest.mark.timeout(0)
def test_two_services_on_one_database_lose_and_double_no_decision(
    documented_pickle: Path, documented_request: Client, tmp_path: Path
) -> None:
    """Their writers wait for each other's lock, and never for long."""
    with cluster() as made, made.running(), ExitStack() as stack:
        wait_for(made.url)
        make_journal(made.url)
        loads = []
        for name in ("first", "second"):
            folder = tmp_path / name
            folder.mkdir()
            door = stack.enter_context(recording(documented_pickle, folder, made.url, workers=2))
            load = Load(door.port, documented_request, rate=0, threads=8, name=name)
            loads.append(stack.enter_context(load.going_on()))
        time.sleep(SECONDS)
        stack.close()

        _reported(*loads)
        held_against(made.url, *loads)
    assert [(set(load.statuses), load.lost) for load in loads] == 2 * [({200}, 0)]


@pytest.mark.endurance
def test_workers_that_are_exchanged_under_load_lose_no_answer_and_no_receipt(
    documented_pickle: Path, documented_request: Client, tmp_path: Path
) -> None:
    url = sqlite_in(tmp_path)
    with (
        recording(documented_pickle, tmp_path, url, workers=2) as door,
        Load(door.port, documented_request).going_on() as load,
    ):
        for _ in range(4):
            _exchange_workers(door)
            load.answers_again(100)

    held_against(url, load)
    assert (set(load.statuses), load.lost) == ({200}, 0)


def _exchange_workers(door: SocketDoor) -> None:
    former, writer = set(workers_of(door)), writer_of(door)

    def are_new() -> bool | None:
        found = workers_of(door)
        return (len(found) == len(former) and not former & set(found)) or None

    os.kill(door.pid, signal.SIGHUP)
    servers.eventually(are_new, "new workers alone")
    new_writer = servers.eventually(lambda: set(children_of(door, WRITER)) - {writer} or None, "a writer")
    servers.eventually(lambda: set(children_of(door, WRITER)) == new_writer or None, "the former one's end")
