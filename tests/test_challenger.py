"""The challenger decides beside the champion, and whatever it does, no answer notices."""

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from api.challenger.keeper import Keeper
from api.delivery.news import Copy
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.registry import connection, versions
from tests import servers
from tests.live import (
    Registry,
    children_of,
    metric,
    metrics,
    policy_of,
    serves,
    serving,
)
from tests.servers import JSON, SocketDoor

pytest_plugins = ["tests.live_support"]


@pytest.mark.slow
def test_a_challenger_decides_beside_is_counted_and_decides_no_more_without_its_alias(
    live: Registry, body: bytes
) -> None:
    live.point("2", alias="challenger")
    with serving(live, SHADOW_SHARE="1") as door:
        servers.eventually(lambda: "comparing with" in door.said or None, "the challenger")
        servers.eventually(
            lambda: asked(door, body, "scoring_shadow_comparisons_total") or None, "a comparison"
        )
        found = metrics(door)
        assert children_of(door, "api.challenger.process")
        connection.connect().delete_registered_model_alias(versions.NAME, "challenger")
        servers.eventually(
            lambda: children_of(door, "api.challenger.process") == [] or None, "no such process"
        )

    pairs = [name for name in found if name.startswith("scoring_shadow_comparisons_total")]
    assert len(pairs) == 1
    assert 'version="1"' in pairs[0]
    assert 'challenger="2"' in pairs[0]


@pytest.mark.slow
def test_a_challenger_that_appears_is_never_said_to_be_missing(live: Registry) -> None:
    """Not while it is brought and tried out, which takes many looks of the champion."""
    with serving(live, SHADOW_SHARE="1") as door:
        time.sleep(2)  # it is missed more than once
        live.point("2", alias="challenger")
        servers.eventually(lambda: "comparing with" in door.said or None, "the challenger")

        assert "the challenger is not compared" not in door.said


def asked(door: SocketDoor, body: bytes, name: str) -> float:
    """The metric after one more request."""
    assert door.send("POST", "/predict", body, JSON).headers["X-Model-Version"] == "1"
    time.sleep(0.2)
    return metric(door, name)


SLOW = b"""
import time
Scorer.decide = (lambda decide: lambda *given: (time.sleep(30), decide(*given))[1])(Scorer.decide)
"""
FAILING = b"""
Scorer.decide = lambda *given: 1 / 0
"""


@pytest.mark.slow
@pytest.mark.parametrize("code", [pytest.param(SLOW, id="slow"), pytest.param(FAILING, id="failing")])
def test_a_challenger_that_misbehaves_does_not_touch_an_answer(
    live: Registry, bundle: Bundle, body: bytes, code: bytes
) -> None:
    live.add(policy_of(bundle, 0.4, more_code=code), alias="challenger")
    with serving(live, SHADOW_SHARE="1") as door:
        servers.eventually(lambda: "comparing with" in door.said or None, "the challenger")
        time.sleep(1)
        waited = sum(timed(door, body) for _ in range(300))

    assert waited < 15


def timed(door: SocketDoor, body: bytes) -> float:
    started = time.perf_counter()
    assert door.send("POST", "/predict", body, JSON).status == 200
    return time.perf_counter() - started


SLOW_TO_LOAD = b"""
import os, time
time.sleep(120) if "SLOW" in os.environ else None
"""


@pytest.mark.slow
def test_a_challenger_that_takes_long_to_load_does_not_delay_the_champion(
    live: Registry, bundle: Bundle
) -> None:
    live.add(policy_of(bundle, 0.4, more_code=SLOW_TO_LOAD), alias="challenger")
    with serving(live, SHADOW_SHARE="1", SLOW="1") as door:
        time.sleep(2)  # by now it is being loaded
        started = time.monotonic()
        live.point("2")
        serves(door, "2")

    assert time.monotonic() - started < 60


def test_a_challenger_that_never_comes_to_life_is_started_less_and_less_often(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It may hang while it loads, for longer than the pause before the next one."""
    keeper = Keeper(tmp_path, loading=2.5, silence=10.0)
    no_copy = Copy(str(tmp_path / ("0" * 64)), "scoring-client", "2", "challenger")
    try:
        with caplog.at_level("ERROR", "scoring_client"):
            keeper.hear(no_copy)
            servers.eventually(lambda: len(caplog.messages) >= 2 or None, "two that ended")
    finally:
        keeper.stop()
        keeper.sender.close()
        keeper._receiver.close()

    assert [message.rpartition(" in ")[2] for message in caplog.messages[:2]] == ["2 s", "4 s"]


@pytest.mark.slow
def test_a_challenger_that_changes_at_any_moment_is_taken_up_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also just before a process starts, and without the pauses that the former one had come to."""
    start = subprocess.Popen
    copies = [Copy(str(tmp_path / (digit * 64)), "scoring-client", digit, "challenger") for digit in "12"]
    keeper = Keeper(tmp_path, loading=600.0, silence=10.0)

    def started_late(*arguments: Any, **more: Any) -> Any:
        monkeypatch.setattr(subprocess, "Popen", start)
        keeper.hear(copies[1])
        return start(["sleep", "600"], **{name: more[name] for name in ("stdin", "stdout")})

    try:
        with caplog.at_level("ERROR", "scoring_client"):
            keeper.hear(copies[0])
            servers.eventually(lambda: len(caplog.messages) >= 1 or None, "the first, which ends")
            monkeypatch.setattr(subprocess, "Popen", started_late)
            servers.eventually(lambda: len(caplog.messages) >= 2 or None, "the second, which ends")
    finally:
        keeper.stop()
        keeper.sender.close()
        keeper._receiver.close()

    assert [message.rpartition(" in ")[2] for message in caplog.messages[:2]] == ["2 s", "2 s"]
