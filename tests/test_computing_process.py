"""Large batches are decided on in processes of their own, which may hang, die or be missing without harm."""

import contextlib
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api.counting.tally import Tally
from api.deciding import computing_pool, computing_process, messages
from api.deciding.computing_pool import ComputingProcess, Pool
from api.deciding.many_clients import Batch
from api.deciding.service import Service
from api.deciding.task import Task
from api.delivery.news import Copy
from api.delivery.served import Model, loaded
from api.recording.records import Asked
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.errors import BatchTooSlow, Busy
from mlflow_model.processes import NICENESS, SESSION_NICENESS
from tests import servers
from tests.live import (
    Registry,
    computing_processes,
    is_asleep,
    line_with,
    metric,
    policy_of,
    serves,
    serving,
    with_champion,
    workers_of,
)
from tests.predict_batch_support import ARROW, CLIENTS, CSV, JSON, THREE, WRITERS, Client, decisions, send
from tests.servers import SocketDoor

pytest_plugins = ["tests.live_support"]

MANY = [*CLIENTS] * 2  # in JSON more than the 64 KiB that stay in a thread
SLOW, DEADLY, HUGE, WRONG, STUCK = 700_001.0, 700_002.0, 700_003.0, 700_004.0, 700_005.0

# What a bundle's own code may do, or a library that a body gets the better of: told by the first annuity.
CODE = f"""
import os, time

def strange(decide_table):
    def decided(self, table, margin=None):
        first = float(table["AMT_ANNUITY"][0])
        if first == {SLOW}:
            time.sleep(1.5)
        if first == {STUCK}:
            time.sleep(40)
        if first == {DEADLY}:
            os.kill(os.getpid(), 11)
        if first == {HUGE}:
            np.ones(2**29)
        if first == {WRONG}:
            raise ZeroDivisionError
        return decide_table(self, table, margin)
    return decided

Scorer.decide_table = strange(Scorer.decide_table)
""".encode()


def beginning_with(annuity: float) -> list[Client]:
    return [MANY[0] | {"AMT_ANNUITY": annuity}, *MANY[1:]]


@pytest.fixture(scope="module")
def strange(bundle: Bundle) -> Bundle:
    return policy_of(bundle, 0.4, more_code=CODE)


# ---- The service


@pytest.fixture(scope="module")
def of_its_own(strange: Bundle, two_versions: Registry, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return with_champion(strange, two_versions, tmp_path_factory.mktemp("strange"))


@pytest.fixture(scope="module")
def door(of_its_own: Registry) -> Iterator[SocketDoor]:
    """One worker that serves the strange version."""
    with serving(of_its_own) as door:
        yield door


def started(door: SocketDoor, count: int) -> list[int]:
    return servers.eventually(
        lambda: found if len(found := computing_processes(door)) == count else None, f"{count} processes"
    )


def test_a_small_batch_starts_no_process(door: SocketDoor) -> None:
    assert decisions(send(door, WRITERS[JSON](THREE), JSON))
    assert computing_processes(door) == []


@pytest.mark.parametrize("content_type", [JSON, CSV, ARROW])
def test_a_large_batch_is_decided_on_as_by_predict_and_by_the_version_it_names(
    door: SocketDoor, content_type: str
) -> None:
    single = [door.predict(client).content for client in CLIENTS]

    answer = send(door, WRITERS[content_type](MANY), content_type)

    assert decisions(answer) == single * 2
    assert answer.headers["X-Model-Version"] == "3"


def test_its_process_gives_way_and_so_does_the_session_that_it_has_for_itself(door: SocketDoor) -> None:
    send(door, WRITERS[CSV](MANY), CSV)
    (worker,), (pid,) = workers_of(door), computing_processes(door)
    session = Path(f"/proc/{pid}/autogroup")

    assert os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, worker) + NICENESS
    assert os.getsid(pid) == pid
    assert not session.exists() or session.read_text().endswith(f"nice {SESSION_NICENESS}\n")


def test_its_process_writes_no_large_file_but_the_log_s(door: SocketDoor) -> None:
    """The log of these tests is a file."""
    send(door, WRITERS[CSV](MANY), CSV)
    most = {resource.prlimit(pid, resource.RLIMIT_FSIZE)[0] for pid in computing_processes(door)}

    assert all(2**30 <= one <= 2**30 + door.log.stat().st_size for one in most)
    assert most


def test_a_batch_is_counted_by_the_worker(door: SocketDoor) -> None:
    before = metric(door, "scoring_decisions_total"), metric(door, "scoring_nulls_total")

    send(door, WRITERS[CSV](MANY), CSV)

    nulls = sum(value is None for client in MANY for value in client.values())
    after = metric(door, "scoring_decisions_total"), metric(door, "scoring_nulls_total")
    assert (after[0] - before[0], after[1] - before[1]) == (len(MANY), nulls)


def test_a_batch_that_kills_its_process_is_an_internal_error_and_the_next_one_is_decided_on(
    door: SocketDoor,
) -> None:
    answer = send(door, WRITERS[JSON](beginning_with(DEADLY)), JSON)

    assert answer.status == 500
    assert answer.error.startswith("Erreur interne du serveur (référence ")
    assert send(door, WRITERS[JSON](MANY), JSON).status == 200
    assert line_with(door, "a batch's process ended (-11)")


def test_a_batch_that_asks_for_too_much_memory_is_refused(door: SocketDoor) -> None:
    answer = send(door, WRITERS[JSON](beginning_with(HUGE)), JSON)

    assert (answer.status, answer.error) == (
        413,
        "Erreur lors du traitement des données : "
        "le calcul de ce lot demande trop de mémoire ; envoyez moins de clients à la fois",
    )


def test_a_bug_in_a_process_is_logged_with_its_place_under_the_reference_that_is_answered(
    door: SocketDoor,
) -> None:
    answer = send(door, WRITERS[JSON](beginning_with(WRONG)), JSON)

    assert answer.status == 500
    reference = answer.error.partition("référence ")[2].rstrip(")")
    line = line_with(door, reference)
    assert "ZeroDivisionError" in line
    assert "scoring.py of bundle" in line
    assert answer.headers["X-Request-Id"] in line


def test_a_process_that_was_killed_while_it_waited_is_replaced(door: SocketDoor) -> None:
    send(door, WRITERS[CSV](MANY), CSV)
    pids = computing_processes(door)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)

    assert send(door, WRITERS[CSV](MANY), CSV).status == 200
    assert not set(computing_processes(door)) & set(pids)


def test_two_batches_at_once_are_decided_on_by_two_processes(door: SocketDoor) -> None:
    body = WRITERS[CSV](beginning_with(SLOW))
    with ThreadPoolExecutor() as clients:
        answers = [clients.submit(send, door, body, CSV) for _ in range(2)]
        started(door, 2)

    assert [answer.result().status for answer in answers] == [200, 200]


def test_a_version_that_arrives_in_the_middle_of_a_batch_is_not_in_its_answer(
    door: SocketDoor, of_its_own: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", of_its_own.environment["MLFLOW_TRACKING_URI"])
    try:
        with ThreadPoolExecutor() as client:
            body = WRITERS[CSV](beginning_with(SLOW))
            slow = client.submit(send, door, body, CSV)
            of_its_own.point("2")
            serves(door, "2")
            next_one = send(door, WRITERS[CSV](MANY), CSV)
        assert said_of(slow.result()) == ("3", 0.4)
        assert said_of(next_one) == ("2", 0.5)
    finally:
        of_its_own.point("3")
        serves(door, "3")


def said_of(answer: servers.Answer) -> tuple[str, float]:
    return answer.headers["X-Model-Version"], decisions(answer)[0]["optimal_threshold"]


def test_a_batch_s_process_ends_with_its_worker(door: SocketDoor) -> None:
    send(door, WRITERS[CSV](MANY), CSV)
    (worker,), pids = workers_of(door), computing_processes(door)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    os.kill(worker, signal.SIGKILL)

    assert pids
    servers.eventually(lambda: not any(map(servers.is_alive, pids)) or None, "the end of its processes")


def test_a_batch_is_answered_though_the_service_and_its_process_are_told_to_end(door: SocketDoor) -> None:
    """The last one: it ends the service."""
    servers.ready(door)
    send(door, WRITERS[CSV](MANY), CSV)
    (pid,) = computing_processes(door)
    with ThreadPoolExecutor() as client:
        slow = client.submit(send, door, WRITERS[CSV](beginning_with(SLOW)), CSV)
        servers.eventually(lambda: is_asleep(pid) or None, "the batch")
        for ended, number in ((pid, signal.SIGTERM), (pid, signal.SIGINT), (door.pid, signal.SIGTERM)):
            os.kill(ended, number)

    assert slow.result().status == 200
    servers.eventually(lambda: not servers.is_alive(pid) or None, "the end of the process")


# It runs in the worker, too, and shortens the ten seconds of its end there.
HURRIED = b"""
import sys

if "api.server.http_server" in sys.modules:
    sys.modules["api.server.http_server"].ANSWER_SECONDS = 0.5
"""


@pytest.fixture
def hurried(of_its_own: Registry, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Iterator[SocketDoor]:
    """A service of its own, that the test ends."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", of_its_own.environment["MLFLOW_TRACKING_URI"])
    of_its_own.point(of_its_own.add(policy_of(bundle, 0.3, more_code=CODE + HURRIED)))
    try:
        with serving(of_its_own, MODEL_CACHE=str(of_its_own.folder / "hurried")) as door:
            yield door
    finally:
        of_its_own.point("3")


@pytest.mark.endurance
def test_batches_that_are_not_answered_when_the_end_is_over_are_asked_to_come_back(
    hurried: SocketDoor,
) -> None:
    """Two are decided on and one waits for its turn; the service ends by itself, and nobody is killed."""
    with ThreadPoolExecutor() as clients:
        answers = [clients.submit(send, hurried, WRITERS[CSV](beginning_with(STUCK)), CSV) for _ in range(3)]
        pids = started(hurried, 2)
        servers.eventually(lambda: all(map(is_asleep, pids)) or None, "both batches")
        (worker,) = workers_of(hurried)
        began = time.monotonic()
        os.kill(hurried.pid, signal.SIGTERM)

    assert [answer.result().status for answer in answers] == [503] * 3
    assert all(answer.result().headers["Retry-After"] for answer in answers)
    ended = os.waitid(os.P_PID, hurried.pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    assert (ended.si_code, ended.si_status) == (os.CLD_EXITED, 0)
    assert time.monotonic() - began < 10
    assert f"worker {worker}" not in hurried.said.partition("a batch")[2]


# ---- The pool


@pytest.fixture(scope="module")
def model(strange: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("copies") / strange.digest
    strange.write(folder)
    copy = Copy(str(folder), "scoring-client", "7", None)
    return loaded(copy)


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    pool = Pool()
    yield pool
    pool.end()


def asked(pool: Pool, model: Model, clients: Sequence[Client] = MANY) -> object:
    return pool.answer(model.copy, Batch(WRITERS[CSV](clients), "id", CSV, None), Tally())


def test_a_batch_that_takes_too_long_is_asked_to_come_back_and_its_process_ended(
    pool: Pool, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked(pool, model)
    monkeypatch.setattr(Batch, "seconds", 0.1)

    with pytest.raises(BatchTooSlow, match="réessayez plus tard, avec moins de clients") as late:
        asked(pool, model, beginning_with(SLOW))

    assert late.value.status == 503
    monkeypatch.undo()
    assert asked(pool, model)


def test_a_process_that_is_stopped_takes_up_nothing(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    process = ComputingProcess()
    assert process.takes_up(model.copy)
    monkeypatch.setattr(computing_pool, "LOADING_SECONDS", 0.1)
    os.kill(process._process.pid, signal.SIGSTOP)

    assert not process.takes_up(model.copy)
    assert process.end() == -signal.SIGKILL


def test_a_process_that_speaks_slowly_has_one_deadline_for_all_that_it_says(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = ComputingProcess()
    ours, theirs = socket.socketpair()
    process._connection.close()
    monkeypatch.setattr(process, "_connection", ours)
    monkeypatch.setattr(Batch, "seconds", 0.3)
    began = time.monotonic()

    def dribble() -> None:
        with contextlib.suppress(OSError):
            for piece in messages._SIZES.pack(1000, 0) + b" " * 1000:
                theirs.sendall(bytes([piece]))
                time.sleep(0.02)

    with theirs, ThreadPoolExecutor() as other:
        other.submit(dribble)
        with pytest.raises(TimeoutError):
            process.answer(Batch(b"", "id", CSV, None))
    assert time.monotonic() - began < 3
    process.end()


class Strange(ComputingProcess):
    """Decides, and says what no tally is."""

    def answer(self, task: Task) -> tuple[dict[str, Any], bytes]:
        return {"tally": {"decisions": [], "seconds": 1}}, b""


def test_a_process_with_a_malformed_tally_is_ended(model: Model) -> None:
    started: list[Strange] = []

    def start() -> ComputingProcess:
        started.append(Strange())
        return started[-1]

    with pytest.raises(TypeError):
        asked(Pool(start), model)

    assert started[0]._process.returncode == -signal.SIGKILL


def test_the_end_of_a_pool_frees_whoever_waits_and_nobody_gets_another_process(model: Model) -> None:
    pool = Pool()
    assert asked(pool, model)
    ((process,),) = [pool._idle]
    with ThreadPoolExecutor() as other:
        waiting = other.submit(asked, pool, model, beginning_with(STUCK))
        servers.eventually(lambda: is_asleep(process._process.pid) or None, "the batch")
        pool.end()
        with pytest.raises(BatchTooSlow):
            waiting.result()

    with pytest.raises(Busy, match="réessayez"):
        asked(pool, model)
    assert process._process.returncode == -signal.SIGKILL


class NoProcess:
    """Fails as a system does that is out of something."""

    def __init__(self, error: Exception) -> None:
        self.error, self.tried = error, 0

    def __call__(self) -> ComputingProcess:
        self.tried += 1
        raise self.error


@pytest.mark.parametrize("error", [BlockingIOError(11, "no process more"), RuntimeError("no thread more")])
def test_where_no_process_can_be_started_batches_stay_in_threads_and_it_is_tried_again_in_a_minute(
    model: Model, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    system = NoProcess(error)
    pool = Pool(system)

    assert [asked(pool, model) for _ in range(3)] == [None] * 3
    assert system.tried == 1
    assert len(caplog.records) == 1


def test_a_copy_that_is_no_longer_there_leaves_the_batch_to_a_thread(model: Model, tmp_path: Path) -> None:
    copy = Copy(str(tmp_path / model.digest), model.name, model.version, None)

    assert asked(Pool(), replace(model, copy=copy)) is None


def test_a_model_without_a_copy_leaves_its_batches_to_threads(model: Model) -> None:
    system = NoProcess(OSError())
    service = Service(servers.Serving(replace(model, copy=None)), pool=Pool(system))

    assert service.predict_batch(CSV, None, WRITERS[CSV](MANY), Asked("id")).status == 200
    assert system.tried == 0


# ---- The two sides of the socket


def test_a_process_without_a_batch_for_long_ends() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        computing_process.serve(theirs, idle_seconds=0.01)


def test_a_process_ends_when_its_worker_has_ended_in_the_middle_of_a_word() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.sendall(b"\x10\x00")
        ours.close()
        computing_process.serve(theirs, idle_seconds=30)


def heard(said: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(said)
        ours.shutdown(socket.SHUT_WR)
        messages.receive(theirs)


@pytest.mark.parametrize("sizes", [(2**20 + 1, 0), (2, 2**30 + 1)])
def test_what_announces_more_than_any_batch_has_is_refused_before_it_takes_memory(
    sizes: tuple[int, int],
) -> None:
    with pytest.raises(ValueError, match="too much at once"):
        heard(messages._SIZES.pack(*sizes))


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError, match="Expecting value"):
        heard(messages._SIZES.pack(4, 0) + b"nope")


@pytest.mark.slow
def test_a_body_of_16_mib_goes_through_whole() -> None:
    ours, theirs = socket.socketpair()
    body = os.urandom(1024) * 16 * 1024
    with ours, theirs:
        sender = threading.Thread(target=messages.send, args=[ours, {"a": "é"}, body])
        sender.start()
        assert messages.receive(theirs) == ({"a": "é"}, body)
        sender.join()
