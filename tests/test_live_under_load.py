"""Versions that come and go under load: every answer is right for the version that it names."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlflow_model.bundle.bundles import Bundle
from tests.live import (
    SOON,
    THRESHOLDS,
    Load,
    Registry,
    all_serve,
    policy_of,
    serving,
    workers_of,
)
from tests.servers import ROOT

pytest_plugins = ["tests.live_support"]


@pytest.mark.slow
def test_twenty_moves_under_load_lose_and_confuse_no_answer(live: Registry, body: bytes) -> None:
    slowest = 0.0
    with serving(live, workers=4) as door, Load(door, body, THRESHOLDS).going_on() as load:
        for move in range(20):
            version = str(2 - move % 2)
            live.point(version)
            started = time.monotonic()
            all_serve(door, version)
            slowest = max(slowest, time.monotonic() - started)

    assert load.faults == {}
    assert min(load.met["1"], load.met["2"]) > 100
    assert slowest < 10


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_of_a_swap_comes_back_on_the_new_version(
    live: Registry, body: bytes
) -> None:
    with serving(live, workers=2) as door, Load(door, body, THRESHOLDS).going_on() as load:
        for move in range(4):
            version = str(2 - move % 2)
            live.point(version)
            time.sleep(SOON + 0.15 * move)
            os.kill(workers_of(door)[0], signal.SIGKILL)
            all_serve(door, version)

    assert set(load.faults) <= {"lost"}  # those that the killed worker had accepted
    assert load.met["lost"] <= 4 * 8


@pytest.mark.endurance
def test_old_models_are_freed(bundle: Bundle, tmp_path: Path) -> None:
    """A process that goes on swapping two models does not grow."""
    other = policy_of(bundle, 0.5)
    for one in (bundle, other):
        one.write(tmp_path / one.digest)
    code = """
import ctypes, gc, resource, sys
from api.delivery.news import Copy, News
from api.delivery.served import ServedModel

served, libc = ServedModel(), ctypes.CDLL(None)
def swap(times):
    for number in range(times):
        assert served.hear(News(Copy(sys.argv[1 + number % 2], "x", str(number), None)))
        served.model.scorer.decide({name: 1 for name in served.model.scorer.features})
    gc.collect()
    libc.malloc_trim(0)  # what is freed and kept for later is no growth
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * resource.getpagesize()

sizes = [swap(50) for _ in range(5)]
print(sizes[-1] - sizes[0])
"""
    folders = [str(tmp_path / one.digest) for one in (bundle, other)]
    shown = subprocess.run(
        [sys.executable, "-c", code, *folders], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert int(shown.stdout) < 2 * 1024 * 1024
