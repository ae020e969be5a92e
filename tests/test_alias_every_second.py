"""An alias that moves all the time. A file of its own, which is begun early: its minute is spent waiting."""

import time

import pytest

from tests.live import THRESHOLDS, Load, Registry, all_serve, serving

pytest_plugins = ["tests.live_support"]


@pytest.mark.endurance
def test_a_move_every_second_for_a_minute_confuses_no_answer(live: Registry, body: bytes) -> None:
    """Faster than some of them are noticed."""
    with serving(live, workers=2) as door, Load(door, body, THRESHOLDS).going_on(clients=2) as load:
        for move in range(60):
            live.point(str(2 - move % 2))
            time.sleep(1)
        all_serve(door, "1")

    assert load.faults == {}
    assert min(load.met["1"], load.met["2"]) > 100
