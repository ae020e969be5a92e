"""One process at a time changes a model, and a dead one does not block the others for long."""

import json
import random
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from mlflow_model.registry import leases
from mlflow_model.registry.leases import Overtaken

NAME = "scoring-client"


class Tags:
    """A registry of tags only. Like a real one, it handles one call at a time."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self._lock = threading.Lock()

    def _pause(self) -> None:
        time.sleep(random.random() / 1_000)  # noqa: S311 - no secret

    def set_registered_model_tag(self, name: str, key: str, value: str) -> None:
        self._pause()
        with self._lock:
            self.tags[key] = value

    def delete_registered_model_tag(self, name: str, key: str) -> None:
        self._pause()
        with self._lock:
            self.tags.pop(key, None)

    def get_registered_model(self, name: str) -> "Read":
        self._pause()
        with self._lock:
            return Read(dict(self.tags))


class Read:
    def __init__(self, tags: dict[str, str]) -> None:
        self.tags = tags


def held_by_others(until: timedelta) -> Tags:
    registry = Tags()
    content = json.dumps({"by": "somebody", "until": (datetime.now(UTC) + until).isoformat()})
    registry.tags["lease.0123456789abcdef"] = content
    return registry


def test_of_many_who_want_it_at_once_one_has_it_and_each_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_PAUSES", (0.0, 0.01))
    registry, inside, most, times = Tags(), [0], [0], [0]

    def work() -> None:
        for _ in range(3):
            lease = leases.taken(registry, NAME, "me")
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.002)
            times[0] += 1
            inside[0] -= 1
            leases.end(registry, NAME, lease)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (most, times, registry.tags) == ([1], [15], {})


def test_whoever_waits_too_long_is_told_until_when(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_PATIENCE_SECONDS", 0.1)
    registry = held_by_others(until=timedelta(seconds=30))

    with pytest.raises(Overtaken, match=r"^somebody else is changing scoring-client, until \d\d:\d\d:\d\d"):
        leases.taken(registry, NAME, "me")

    assert list(registry.tags) == ["lease.0123456789abcdef"]


@pytest.mark.parametrize("until", [timedelta(seconds=-1), timedelta(days=1)])
def test_the_lease_of_somebody_who_died_or_lies_is_taken_away(until: timedelta) -> None:
    registry = held_by_others(until)

    lease = leases.taken(registry, NAME, "me")

    assert list(registry.tags) == [lease.key]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"until": 3}', '{"until": "2026-01-01T00:00:00"}'])
def test_a_tag_of_other_hands_is_no_lease(text: str) -> None:
    registry = Tags()
    registry.tags["lease.x"] = text

    lease = leases.taken(registry, NAME, "me")

    assert list(registry.tags) == [lease.key]


def test_a_holder_stops_before_others_may_take_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow registry: the lease has ended when the next call would be made."""
    lease = leases.taken(Tags(), NAME, "me")
    lease.check()
    later = time.monotonic() + leases.SECONDS - 15
    monkeypatch.setattr(time, "monotonic", lambda: later)

    with pytest.raises(Overtaken, match="the registry was too slow: nothing was moved"):
        lease.check()
