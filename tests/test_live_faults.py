"""Damage, full disks, clocks that jump and processes that die: the last good model goes on."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from mlflow_model.bundle import bundles
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.errors import LoadingFailed
from mlflow_model.registry import connection, fetching, versions
from tests import servers
from tests.faults import Clock
from tests.live import (
    Registry,
    all_serve,
    children_of,
    doubt,
    is_content_with,
    metric,
    policy_of,
    serves,
    serving,
    workers_of,
)
from tests.servers import ROOT, SocketDoor

pytest_plugins = ["tests.live_support"]


@pytest.mark.endurance
def test_two_hundred_corruptions_of_a_registered_model_give_the_true_bundle_or_a_refusal(
    live: Registry,
) -> None:
    generator = random.Random(6)  # noqa: S311 - no secret
    home = live.artifact("1").parents[1]
    files = sorted(path for path in home.rglob("*") if path.is_file())
    named = versions.resolve("models:/scoring-client@champion")
    outcomes: Counter[str] = Counter()
    for number in range(200):
        file = files[number % len(files)]
        sound = file.read_bytes()
        file.write_bytes(corrupted(sound, generator))
        try:
            assert fetching.download(named) == live.bundles["1"]
            outcomes["true"] += 1
        except LoadingFailed:
            outcomes["refused"] += 1
        file.write_bytes(sound)

    assert outcomes.total() == 200
    assert outcomes["refused"] >= 200 * len(bundles.FILES) // len(files)


def corrupted(content: bytes, generator: random.Random) -> bytes:
    """A bit turned, a piece gone, a piece doubled, the end cut off, or nothing left."""
    place = generator.randrange(max(1, len(content)))
    changed = bytes([content[place] ^ (1 << generator.randrange(8))]) if content else b"x"
    return generator.choice(
        [
            content[:place] + changed + content[place + 1 :],
            content[:place] + content[place + 7 :],
            content[:place] + content[place : place + 7] + content[place:],
            content[:place],
            b"",
        ]
    )


@pytest.mark.slow
def test_a_full_disk_leaves_no_half_copy(live: Registry, tmp_path: Path) -> None:
    """No file may grow beyond 8 KiB: a bundle does not fit."""
    folder = tmp_path / "full"
    command = [sys.executable, "-m", "api.delivery.loader", "models:/scoring-client@champion", str(folder)]
    limited = ["prlimit", "--fsize=8192", *command]

    shown = subprocess.run(
        limited, cwd=ROOT, env={**os.environ, **live.environment}, capture_output=True, check=True
    )

    news = json.loads(shown.stdout.splitlines()[-1])  # a slow registry is told of before
    assert news["copy"] is None
    assert "ulimit -f" in news["problem"]
    assert [path for path in folder.rglob("*") if path.is_file()] == []


@pytest.mark.slow
def test_a_disk_that_fills_up_while_serving_costs_the_new_version_and_no_answer(
    live: Registry, documented_request: dict[str, float]
) -> None:
    """The loader may write no file beyond 8 KiB any more, then again as it likes."""
    with serving(live) as door:
        (loader,) = children_of(door, "api.delivery.loader")
        resource.prlimit(loader, resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
        live.point("2")
        doubt(door, "ulimit -f")
        during = door.predict(documented_request)
        refusals = metric(door, "scoring_model_refusals_total")
        resource.prlimit(loader, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        serves(door, "2")

    assert (during.status, during.headers["X-Model-Version"]) == (200, "1")
    assert refusals == 0  # nothing is wrong with the version


@pytest.mark.slow
def test_metrics_that_cannot_be_saved_cost_no_answer(
    live: Registry, documented_request: dict[str, float]
) -> None:
    """The worker may write no file any more, then again as it likes."""
    with serving(live) as door:
        (worker,) = workers_of(door)
        folder = Path(f"/proc/{worker}/cmdline").read_text().split("\0")[-3]
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        statuses = set()
        for _ in range(4):
            statuses.add(door.predict(documented_request).status)
            time.sleep(0.4)  # they are saved each half second
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        servers.eventually(lambda: decisions_in(Path(folder), worker) == 4 or None, "saved metrics")

    assert statuses == {200}


def decisions_in(folder: Path, worker: int) -> int:
    saved = [json.loads(file.read_bytes()) for file in folder.glob(f"{worker}-*.json")]
    return sum(count for one in saved for _, count in one["decisions"])


@pytest.mark.slow
def test_every_file_of_a_version_may_be_damaged_and_the_service_goes_on(
    live: Registry, documented_request: dict[str, float]
) -> None:
    """Each file in turn is cut to its half; what the bundle does not need is not missed."""
    home = live.artifact("2").parents[1]
    files = sorted(path for path in home.rglob("*") if path.is_file())
    answers = {}
    with serving(live) as door:
        for file in files:
            sound = file.read_bytes()
            file.write_bytes(sound[: len(sound) // 2])
            live.point("2")
            answers[file.name] = servers.eventually(lambda: outcome_of(door), "a refusal or version 2")
            assert door.predict(documented_request).status == 200
            file.write_bytes(sound)
            live.point("1")
            servers.eventually(lambda: is_content_with(door, "1"), "version 1 again")

    needed = {*bundles.FILES, "manifest.json"}
    assert {name for name, outcome in answers.items() if outcome == "refused"} >= needed
    assert len(files) > len(needed)


def outcome_of(door: SocketDoor) -> str | None:
    content = door.get("/ready").content
    if content["doubt"] and "version 2 de scoring-client refusée" in content["doubt"]:
        return "refused"
    return "served" if content["version"] == "2" else None


def test_a_version_that_is_deleted_between_the_look_and_the_copy_is_refused(live: Registry) -> None:
    named = versions.resolve("models:/scoring-client/2")
    shutil.rmtree(live.artifact("2").parents[1])
    connection.connect().delete_model_version(versions.NAME, "2")

    with pytest.raises(LoadingFailed, match="scoring-client/2"):
        fetching.download(named)


@pytest.mark.slow
def test_without_cache_and_registry_a_killed_worker_waits_and_the_others_answer(
    live: Registry, documented_request: dict[str, float]
) -> None:
    with serving(live, workers=2) as door:
        shutil.rmtree(live.folder / "cache")
        (live.folder / "mlflow.db").rename(live.folder / "away.db")
        doubt(door, "aucun registre")
        killed, survivor = workers_of(door)
        os.kill(killed, signal.SIGKILL)
        servers.eventually(lambda: "cannot be used" in door.said or None, "a worker without a copy")
        during = {door.predict(documented_request).status for _ in range(20)}
        os.kill(door.pid, signal.SIGHUP)
        time.sleep(1.5)
        after_exchange = {door.predict(documented_request).status for _ in range(20)}
        still_there = survivor in workers_of(door)
        (live.folder / "away.db").rename(live.folder / "mlflow.db")
        live.point("2")
        all_serve(door, "2")

    assert (during, after_exchange, still_there) == ({200}, {200}, True)


@pytest.mark.endurance
def test_a_clock_that_jumps_by_years_delays_no_version(
    live: Registry, documented_request: dict[str, float]
) -> None:
    """Every process of the service sees another date, first later, then earlier than the true one."""
    clock = Clock(live.folder)
    ten_years = 10 * 365 * 86_400

    with serving(live, 1, **clock.environment) as door:
        for seconds, version in ((ten_years, "2"), (-ten_years, "1"), (0, "2")):
            clock.jump(seconds)
            live.point(version)
            serves(door, version)
            assert door.predict(documented_request).headers["X-Model-Version"] == version
        age = metric(door, "scoring_registry_age_seconds")
        said = door.said

    assert 0 <= age < 10
    years = {json.loads(line)["time"][:4] for line in said.splitlines() if line.startswith("{")}
    assert len(years) >= 3  # or the clock did not jump


ENDS_WORKERS = b"""
import os, sys
if "api.server.worker" in sys.orig_argv:
    os._exit(7)
"""


@pytest.mark.slow
def test_a_version_that_ends_each_worker_that_loads_it_leaves_the_service_with_the_former_one(
    live: Registry, bundle: Bundle, documented_request: dict[str, float]
) -> None:
    """The trial finds nothing: only in a worker does it do that."""
    number = live.add(policy_of(bundle, 0.3, more_code=ENDS_WORKERS))
    with serving(live, workers=2) as door:
        serves(door, "1")
        live.point(number)
        doubt(door, "copie locale est inutilisable")
        met = Counter(_version_or_lost(door, documented_request) for _ in range(100))
        live.point("1")
        servers.eventually(lambda: _is_content_or_lost(door, "1"), "no more doubt")

    assert met.keys() <= {"1", "lost"}
    assert met["lost"] <= 5


SPOILS_WORKERS = b"""
import hashlib, sys
if "api.server.worker" in sys.orig_argv:
    hashlib.sha256 = lambda *_, **__: 1 / 0
    raise RuntimeError
"""


@pytest.mark.endurance
def test_a_refused_version_that_spoils_its_process_keeps_no_good_one_from_being_served(
    live: Registry, bundle: Bundle, documented_request: dict[str, float]
) -> None:
    """The worker that tried it can load nothing any more: another takes its place, nobody sends a signal."""
    number = live.add(policy_of(bundle, 0.3, more_code=SPOILS_WORKERS))
    with serving(live) as door:
        before = workers_of(door)
        live.point(number)
        doubt(door, "copie locale est inutilisable")
        live.point("2")
        serves(door, "2")
        answered = door.predict(documented_request)
        servers.eventually(lambda: before[0] not in workers_of(door) or None, "the spoilt one has ended")

    assert (answered.status, answered.headers["X-Model-Version"]) == (200, "2")


@pytest.mark.endurance
def test_without_a_model_workers_that_a_version_has_spoilt_keep_no_good_one_away(
    live: Registry, bundle: Bundle
) -> None:
    live.point(live.add(policy_of(bundle, 0.3, more_code=SPOILS_WORKERS)))
    with servers.api(live.environment, live.folder / "log", options=("--workers", "3")) as door:
        servers.eventually(lambda: door.said.count("copy cannot be used") >= 3 or None, "all are spoilt")
        live.point("2")
        ready = servers.ready(door)

    assert ready.content["version"] == "2"


def _is_content_or_lost(door: SocketDoor, version: str) -> bool | None:
    """The last attempt at the refused version may end a worker while it is asked."""
    try:
        return is_content_with(door, version)
    except ConnectionError:
        return None


def _version_or_lost(door: SocketDoor, client: dict[str, float]) -> str:
    """A connection to the one worker that tries the version ends with it."""
    try:
        return door.predict(client).headers["X-Model-Version"]
    except ConnectionError:
        return "lost"
