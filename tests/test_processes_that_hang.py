"""A process that hangs, is stopped, dies or cannot load: it is noticed and replaced, and the others go on."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlflow_model.bundle.bundles import Bundle
from tests import servers
from tests.live import Registry, all_serve, children_of, doubt, policy_of, serves, workers_of
from tests.servers import JSON, ROOT, SocketDoor

pytest_plugins = ["tests.live_support"]

CODE = """
{first}
from api import logs
from api.server import supervisor
from api.server.bounds import Bounds
logs.configure()
supervisor.serve("127.0.0.1", 0, {workers}, Bounds(**{bounds!r}))
"""


@contextmanager
def supervised(
    environment: Mapping[str, str],
    log: Path,
    workers: int = 2,
    root: Path = ROOT,
    first: str = "",
    **bounds: float,
) -> Iterator[SocketDoor]:
    """`python api/app.py` with other bounds, as soon as it listens. `first` is run in the supervisor."""
    command = [sys.executable, "-c", CODE.format(first=first, workers=workers, bounds=bounds)]
    path = {"PYTHONPATH": str(root)}
    with servers.process(command, {**environment, **path}, log, root) as child:
        yield servers.listening(child, log)


def all_up(door: SocketDoor, workers: int) -> set[int]:
    """As many processes as are wanted, each with an event loop, which only one that may answer has."""

    def attempt() -> set[int] | None:
        found = {pid for pid in workers_of(door) if has_event_loop(pid)}
        return found if len(found) == workers == len(workers_of(door)) else None

    servers.ready(door)
    return servers.eventually(attempt, f"{workers} workers")


def has_event_loop(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return any("eventpoll" in str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir())
    return False


# ---- Hanging


LOOPS = b"""
def _looping(decide):
    def looping(self, client):
        while client["AMT_CREDIT"] == 666:
            pass
        return decide(self, client)
    return looping
Scorer.decide = _looping(Scorer.decide)
"""


@pytest.mark.endurance
def test_a_version_whose_code_loops_stops_the_service_for_seconds_only(
    live: Registry, bundle: Bundle, documented_request: dict[str, float]
) -> None:
    looping = live.add(policy_of(bundle, 0.4, more_code=LOOPS))
    live.point(looping)
    with supervised(live.environment, live.folder / "log", silence=1.5) as door:
        former = all_up(door, 2)
        hanging = [ask_in_vain(door, documented_request | {"AMT_CREDIT": 666}) for _ in range(12)]
        servers.eventually(
            lambda: door.said.count("does not answer any more: it is killed") >= 2 or None, "two are killed"
        )
        live.point("1")
        all_serve(door, "1")
        after = {door.predict(documented_request).status for _ in range(10)}
        replaced = not former & set(workers_of(door))
        for connection in hanging:
            connection.close()

    assert (after, replaced) == ({200}, True)


def ask_in_vain(door: SocketDoor, client: dict[str, float]) -> socket.socket:

    content = json.dumps(client).encode()
    head = (
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", door.port), timeout=10)
    connection.sendall(head % len(content) + content)
    return connection


@pytest.mark.slow
def test_a_stopped_worker_is_replaced_but_none_because_the_supervisor_was_stopped(
    documented_pickle: Path, tmp_path: Path
) -> None:
    environment = servers.alone(documented_pickle, tmp_path)
    with supervised(environment, tmp_path / "log", silence=2.0) as door:
        before = all_up(door, 2)
        os.kill(door.pid, signal.SIGSTOP)
        time.sleep(3)
        os.kill(door.pid, signal.SIGCONT)
        time.sleep(1)
        after_the_stop = set(workers_of(door))
        stopped = min(before)
        os.kill(stopped, signal.SIGSTOP)
        servers.eventually(lambda: stopped not in workers_of(door) or None, "its end")
        after = all_up(door, 2)

    assert after_the_stop == before
    assert max(before) in after
    assert f"worker {stopped} does not answer any more: it is killed" in door.said


@pytest.mark.slow
def test_a_supervisor_that_is_killed_frees_the_port_even_if_a_worker_is_stopped(
    documented_pickle: Path, tmp_path: Path
) -> None:
    environment = servers.alone(documented_pickle, tmp_path) | {"RELOAD_SECONDS": "1"}
    with servers.api(environment, tmp_path / "log", options=("--workers", "2")) as door:
        stopped, _ = all_up(door, 2)
        os.kill(stopped, signal.SIGSTOP)
        os.kill(door.pid, signal.SIGKILL)

        def is_free() -> bool | None:
            try:
                socket.create_server(("127.0.0.1", door.port)).close()
            except OSError:
                return None
            return True

        assert servers.eventually(is_free, "the port")


# ---- Dying, and not being able to

BUG = """
from api.server.supervisor import Supervisor
def failing(self, worker, said, take_up=Supervisor._take_up):
    take_up(self, worker, said)
    if said.kind == "serving":
        raise ValueError("a value of an applicant")
Supervisor._take_up = failing
"""


@pytest.mark.slow
def test_a_bug_in_the_supervisor_is_logged_without_values_and_ends_nothing(
    documented_pickle: Path, tmp_path: Path, documented_request: dict[str, float]
) -> None:
    with supervised(servers.alone(documented_pickle, tmp_path), tmp_path / "log", first=BUG) as door:
        servers.eventually(
            lambda: door.said.count("internal error in the supervisor") >= 2 or None, "the log"
        )
        before = all_up(door, 2)
        os.kill(min(before), signal.SIGKILL)
        after = all_up(door, 2)
        answer = door.predict(documented_request)
        said = door.said

    assert max(before) in after
    assert answer.status == 200
    assert "ValueError at " in said
    assert "applicant" not in said


@pytest.mark.slow
def test_a_copy_that_is_lost_when_the_loader_has_ended_is_made_again(
    documented_pickle: Path, tmp_path: Path, documented_request: dict[str, float]
) -> None:
    """A pickle is read once, and its loader ends. A worker that finds no copy may not stop the service."""
    environment = servers.alone(documented_pickle, tmp_path)
    with servers.api(environment, tmp_path / "log", options=("--workers", "2")) as door:
        before = all_up(door, 2)
        servers.eventually(lambda: not children_of(door, "api.delivery.loader") or None, "the loader's end")
        shutil.rmtree(tmp_path / "cache")
        os.kill(min(before), signal.SIGKILL)
        during = {door.predict(documented_request).status for _ in range(20)}
        after = all_up(door, 2)

    assert during == {200}
    assert max(before) in after


ONE_FAILS = b"""
import os, pathlib
if pathlib.Path(os.environ.get("UNABLE", "/"), str(os.getpid())).exists():
    raise MemoryError
"""


@pytest.mark.slow
def test_a_worker_that_cannot_load_what_the_others_can_is_replaced(
    live: Registry, bundle: Bundle, documented_request: dict[str, float]
) -> None:
    version = live.add(policy_of(bundle, 0.4, more_code=ONE_FAILS))
    with supervised(live.environment | {"UNABLE": str(live.folder)}, live.folder / "log") as door:
        able, unable = all_up(door, 2)
        (live.folder / str(unable)).touch()
        live.point(version)
        doubt(door, "la copie locale est inutilisable")
        during = {door.predict(documented_request).headers["X-Model-Version"] for _ in range(20)}
        all_serve(door, version)
        after = all_up(door, 2)
        content = door.get("/ready").content

    assert during == {"1"}
    assert able in after
    assert unable not in after
    assert content["doubt"] is None


@pytest.mark.slow
def test_without_a_model_one_worker_says_so_and_another_takes_its_place(tmp_path: Path) -> None:
    environment = servers.alone(tmp_path / "absent.pkl", tmp_path)
    with servers.api(environment, tmp_path / "log", options=("--workers", "3")) as door:
        servers.ready(door, "/health")
        servers.eventually(lambda: len(workers_of(door)) == 3 or None, "three workers")
        servers.eventually(lambda: "introuvable" in door.get("/ready").error or None, "the reason")
        answering = [pid for pid in workers_of(door) if has_event_loop(pid)]
        answers = [door.get(path) for path in ("/ready", "/docs")]
        answers += [door.send("POST", path, b"{}", JSON) for path in ("/predict", "/predict?by=the+lane")]
        os.kill(answering[0], signal.SIGKILL)
        then = door.get("/ready").error
        health = door.get("/health").status

    assert len(answering) == 1
    assert "introuvable" in then
    assert {(one.status, one.headers["Retry-After"]) for one in answers} == {(503, "1")}
    assert health == 200


# ---- SIGHUP


@pytest.mark.endurance
def test_new_workers_that_hang_or_fail_are_given_up_and_cost_no_worker(
    documented_pickle: Path, tmp_path: Path
) -> None:
    """A release that hangs, then one that fails while a dead worker is being replaced, then a good one."""
    release = tmp_path / "release"
    for package in ("api", "mlflow_model", "features"):
        shutil.copytree(ROOT / package, release / package)
    lane = release / "api" / "server" / "lane.py"
    good = lane.read_text()
    environment = servers.alone(documented_pickle, tmp_path)
    with supervised(environment, tmp_path / "log", root=release, starting=3.0) as door:
        before = all_up(door, 2)
        lane.write_text("import time; time.sleep(60)")
        os.kill(door.pid, signal.SIGHUP)
        servers.eventually(lambda: "exchanging" in door.said or None, "the exchange")
        os.kill(door.pid, signal.SIGHUP)
        servers.eventually(lambda: door.said.count("the former workers go on") == 1 or None, "given up")
        assert "SIGHUP is refused" in door.said
        assert "does not start: it is killed" in door.said
        assert set(workers_of(door)) >= before
        servers.eventually(lambda: set(workers_of(door)) == before or None, "the former workers alone")

        lane.write_text("raise SystemExit('a bad release')")
        os.kill(min(before), signal.SIGKILL)
        os.kill(door.pid, signal.SIGHUP)
        servers.eventually(lambda: door.said.count("the former workers go on") == 2 or None, "given up again")
        lane.write_text(good)
        assert max(before) in all_up(door, 2)

        os.kill(door.pid, signal.SIGHUP)
        servers.eventually(lambda: not before & set(workers_of(door)) or None, "new workers")
        all_up(door, 2)


# ---- Readiness is the service's

SLOW_IN_SOME = b"""
import os, sys, time
if "api.server.worker" in sys.orig_argv:
    time.sleep(os.getpid() % 4 * 0.4)
"""


@pytest.fixture
def slow(live: Registry, bundle: Bundle) -> Registry:
    """Two versions that take some workers longer to load than others; the first is champion."""
    for version, threshold in (("3", 0.3), ("4", 0.6)):
        assert live.add(policy_of(bundle, threshold, more_code=SLOW_IN_SOME)) == version
    live.point("3")
    return live


@pytest.mark.slow
def test_once_ready_always_ready_and_no_answer_goes_back_to_an_older_version(
    slow: Registry, documented_request: dict[str, float]
) -> None:
    """A cold start and a move, with four workers, asked all the time and on a new connection each time."""
    options = ("--workers", "4")
    with (
        servers.api(slow.environment, slow.folder / "log", options=options) as door,
        asking(door, documented_request) as met,
    ):
        servers.eventually(lambda: 200 in [status for status, _ in met] or None, "200")
        all_up(door, 4)
        slow.point("4")
        all_serve(door, "4")

    first = next(place for place, (status, _) in enumerate(met) if status == 200)
    versions = [version for _, version in met[first:]]
    assert {status for status, _ in met[first:]} == {200}
    assert versions == sorted(versions)
    assert set(versions) == {"3", "4"}


@contextmanager
def asking(door: SocketDoor, client: dict[str, float]) -> Iterator[list[tuple[int, str]]]:
    """What one client meets who asks /ready and /predict in turns, one after the other."""
    met: list[tuple[int, str]] = []
    enough = threading.Event()

    def ask() -> None:
        while not enough.wait(0.002):
            ready = door.get("/ready")
            met.append((ready.status, ready.content.get("version", "")))
            answer = door.predict(client)
            met.append((answer.status, answer.headers.get("X-Model-Version", "")))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield met
    finally:
        enough.set()
        thread.join()


@pytest.mark.slow
def test_ready_keeps_its_version_after_sighup_without_copies_and_registry(
    live: Registry, documented_request: dict[str, float]
) -> None:
    """Not even a worker that has just been replaced, and finds no copy, answers that there is no model."""
    with servers.api(live.environment, live.folder / "log", options=("--workers", "2")) as door:
        killed, survivor = all_up(door, 2)
        shutil.rmtree(live.folder / "cache")
        (live.folder / "mlflow.db").rename(live.folder / "away.db")
        os.kill(killed, signal.SIGKILL)
        os.kill(door.pid, signal.SIGHUP)
        met = {door.get("/ready").content.get("version") for _ in range(40)}
        servers.eventually(
            lambda: "the former workers go on" in door.said or None, "the exchange is given up"
        )
        met |= {door.get("/ready").content.get("version") for _ in range(40)}
        decided = {door.predict(documented_request).status for _ in range(20)}
        assert survivor in workers_of(door)
        (live.folder / "away.db").rename(live.folder / "mlflow.db")
        live.point("2")
        serves(door, "2")
        all_up(door, 2)

    assert (met, decided) == ({"1"}, {200})


# ---- The challenger

ENDLESS = b"""
def _endless(*given):
    while True:
        pass
Scorer.decide = _endless
"""


@pytest.mark.slow
def test_a_challenger_that_hangs_is_replaced(live: Registry, bundle: Bundle, body: bytes) -> None:
    live.add(policy_of(bundle, 0.4, more_code=ENDLESS), alias="challenger")
    environment = live.environment | {"SHADOW_SHARE": "1"}
    with supervised(environment, live.folder / "log", workers=1, silence=1.0) as door:
        (hanging,) = servers.eventually(
            lambda: children_of(door, "api.challenger.process") or None, "the challenger"
        )

        def asked() -> bool | None:
            assert door.send("POST", "/predict", body, JSON).status == 200
            return "it gave no sign of life" in door.said or None

        servers.eventually(asked, "its end")
        (other,) = servers.eventually(lambda: children_of(door, "api.challenger.process") or None, "another")

    assert other != hanging


WATCHED = """
import threading, time
from api.delivery import finder
arguments = [threading.Event(), 3.0, lambda: print("called")]
watchdog = threading.Thread(target=finder._call_unless, args=arguments)
watchdog.start()
print("begun", flush=True)
watchdog.join(1.5)
print("lives" if watchdog.is_alive() else "ended", flush=True)
watchdog.join()
"""


def test_the_time_for_which_this_process_was_stopped_is_no_silence_of_the_loader() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WATCHED], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "begun\n"
            child.send_signal(signal.SIGSTOP)
            time.sleep(4)
            child.send_signal(signal.SIGCONT)
            said = child.stdout.read()
        finally:
            child.kill()

    assert said == "lives\ncalled\n"
