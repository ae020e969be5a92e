"""Explanations are computed in a process of their own, which may hang, die or be missing without harm."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api.app import create_app
from api.deciding import answer as answers
from api.deciding import many_clients
from api.deciding.computing_pool import Pool
from api.deciding.many_clients import Batch
from api.deciding.service import Service
from api.delivery.news import Copy
from api.delivery.served import Model, loaded
from mlflow_model.bundle.bundles import Bundle
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
from tests.predict_batch_support import CSV, WRITERS, holding, send
from tests.servers import JSON, Answer, Door, FlaskDoor, SocketDoor

pytest_plugins = ["tests.live_support"]

SLOW, DEADLY, WRONG, STUCK = 700_001.0, 700_002.0, 700_003.0, 700_004.0
SECONDS = 3.0

# What a bundle's own code may do, told by the annuity. In the worker, the bound of 10 s is made shorter.
CODE = f"""
import os, sys, time

def strange(contributions):
    def told(self, row):
        annuity = row[self.features.index("AMT_ANNUITY")]
        if annuity == {SLOW}:
            time.sleep(1.5)
        if annuity == {STUCK}:
            time.sleep(40)
        if annuity == {DEADLY}:
            os.kill(os.getpid(), 11)
        if annuity == {WRONG}:
            raise ZeroDivisionError
        return contributions(self, row)
    return told

Scorer.contributions = strange(Scorer.contributions)
if "api.server.http_server" in sys.modules:
    sys.modules["api.deciding.explained_client"].Explanation.seconds = {SECONDS}
""".encode()

Client = dict[str, Any]
Told = Callable[[float], Answer]


@pytest.fixture(scope="module")
def strange(bundle: Bundle) -> Bundle:
    return policy_of(bundle, 0.4, more_code=CODE)


@pytest.fixture(scope="module")
def of_its_own(strange: Bundle, two_versions: Registry, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return with_champion(strange, two_versions, tmp_path_factory.mktemp("strange"))


@pytest.fixture(scope="module")
def door(of_its_own: Registry) -> Iterator[SocketDoor]:
    """One worker that serves the strange version."""
    with serving(of_its_own) as door:
        yield door


def explain(door: Door, body: bytes, headers: dict[str, str] = JSON) -> Answer:
    return door.send("POST", "/explain", body, headers | {"X-Request-Id": "id"})


@pytest.fixture
def told(door: SocketDoor, documented_request: Client) -> Told:
    """The answer to the documented client with this annuity."""
    return lambda annuity: explain(door, json.dumps(documented_request | {"AMT_ANNUITY": annuity}).encode())


ASKED = {
    "a client": (b"", JSON),
    "no client": (b"{}", JSON),
    "too much": (b" " * (64 * 1024 + 1), JSON),
    "a table": (b"a,b", {"Content-Type": "text/csv"}),
    "a compressed client": (b"", JSON | {"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize(("body", "headers"), ASKED.values(), ids=list(ASKED))
def test_a_process_explains_and_refuses_as_a_thread_does_to_the_last_byte(
    door: SocketDoor, strange: Bundle, documented_request: Client, body: bytes, headers: dict[str, str]
) -> None:
    in_a_thread = FlaskDoor(create_app(servers.serving(strange.scorer())))
    body = body or json.dumps(documented_request).encode()

    found, expected = (explain(one, body, headers) for one in (door, in_a_thread))

    assert (found.status, found.body) == (expected.status, expected.body)
    assert found.headers["Content-Type"] == expected.headers["Content-Type"]
    assert (found.headers["X-Request-Id"], found.headers["X-Model-Version"]) == ("id", "3")


def test_its_process_gives_way_and_stays_for_the_next_one(door: SocketDoor, told: Told) -> None:
    told(15_000.0)
    first = computing_processes(door)

    assert told(16_000.0).status == 200
    assert computing_processes(door) == first
    assert [os.getpriority(os.PRIO_PROCESS, pid) for pid in first] == [
        os.getpriority(os.PRIO_PROCESS, workers_of(door)[0]) + 15
    ]


@pytest.mark.slow
def test_who_asks_for_no_explanation_that_could_be_given_starts_no_process(live: Registry) -> None:
    with serving(live) as door:
        assert explain(door, b"{}").status == 400
        assert computing_processes(door) == []


def test_its_process_never_imports_pyarrow(door: SocketDoor, told: Told) -> None:
    assert told(15_000.0).status == 200
    assert "pyarrow" not in "".join(
        Path(f"/proc/{pid}/maps").read_text() for pid in computing_processes(door)
    )


def test_an_explanation_is_no_decision_in_the_counts(door: SocketDoor, told: Told) -> None:
    before = metric(door, "scoring_decisions_total")

    assert told(15_000.0).status == 200
    assert metric(door, "scoring_decisions_total") == before


def test_a_bug_is_an_internal_error_that_is_logged_under_the_reference_that_is_answered(
    door: SocketDoor, told: Told
) -> None:
    answer = told(WRONG)

    assert answer.status == 500
    assert "ZeroDivisionError" in line_with(door, answer.error.partition("référence ")[2].rstrip(")"))


def test_an_explanation_that_kills_its_process_is_an_internal_error_and_the_next_one_is_made(
    door: SocketDoor, told: Told
) -> None:
    answer = told(DEADLY)

    assert answer.status == 500
    assert answer.error.startswith("Erreur interne du serveur (référence ")
    assert line_with(door, "an explanation's process ended (-11)")
    assert told(15_000.0).status == 200


def test_a_process_that_is_killed_in_the_middle_is_an_internal_error_and_the_next_one_explains(
    door: SocketDoor, told: Told
) -> None:
    told(15_000.0)
    with ThreadPoolExecutor() as client:
        slow = client.submit(told, SLOW)
        os.kill(at_work(door), signal.SIGKILL)

    assert slow.result().status == 500
    assert told(15_000.0).status == 200


def at_work(door: SocketDoor) -> int:
    """The process that sleeps in an explanation, once it does."""
    return servers.eventually(
        lambda: next((pid for pid in computing_processes(door) if is_asleep(pid)), None), "an explanation"
    )


def test_an_explanation_that_hangs_is_ended_and_nobody_else_waits_for_it(
    door: SocketDoor, told: Told, documented_request: Client
) -> None:
    """Of many that ask meanwhile a few wait, and others are refused: /health needs a thread."""
    workers, table = workers_of(door), WRITERS[CSV]([documented_request] * 1000)
    with ThreadPoolExecutor(30) as clients:
        hangs = clients.submit(told, STUCK)
        pid = at_work(door)
        others = [clients.submit(told, 15_000.0) for _ in range(25)]
        began = time.monotonic()
        meanwhile = [door.get("/health"), door.predict(documented_request)]
        seconds = time.monotonic() - began
        meanwhile.append(send(door, table, CSV))

    assert [answer.status for answer in meanwhile] == [200] * 3
    assert seconds < 1.5
    assert {(other.result().status, other.result().headers["Retry-After"]) for other in others} == {
        (503, "1")
    }
    assert others[0].result().error == (
        "Trop d’explications sont demandées à la fois : réessayez dans une seconde."
    )
    assert (hangs.result().status, hangs.result().headers["Retry-After"]) == (503, "1")
    assert hangs.result().error == "L’explication n’a pas été calculée en 3 s : réessayez plus tard."
    assert not servers.is_alive(pid)
    assert time.monotonic() - began < 5 * SECONDS
    assert told(15_000.0).status == 200
    assert workers_of(door) == workers


def test_a_second_explanation_waits_for_its_turn(door: SocketDoor, told: Told) -> None:
    told(15_000.0)
    with ThreadPoolExecutor() as clients:
        slow = clients.submit(told, SLOW)
        at_work(door)
        second = clients.submit(told, 15_000.0)

    assert (slow.result().status, second.result().status) == (200, 200)


def test_a_version_that_arrives_in_the_middle_of_an_explanation_is_not_in_its_answer(
    door: SocketDoor, told: Told, of_its_own: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", of_its_own.environment["MLFLOW_TRACKING_URI"])
    told(15_000.0)
    try:
        with ThreadPoolExecutor() as client:
            slow = client.submit(told, SLOW)
            at_work(door)
            of_its_own.point("2")
            serves(door, "2")
        assert said_of(slow.result()) == ("3", 0.4)
        assert said_of(told(15_000.0)) == ("2", 0.5)
    finally:
        of_its_own.point("3")
        serves(door, "3")


def said_of(answer: Answer) -> tuple[str, float]:
    return answer.headers["X-Model-Version"], answer.content["decision"]["optimal_threshold"]


def test_new_workers_after_sighup_explain_with_a_process_of_their_own(door: SocketDoor, told: Told) -> None:
    told(15_000.0)
    (worker,), former = workers_of(door), computing_processes(door)
    os.kill(door.pid, signal.SIGHUP)
    servers.eventually(lambda: worker not in workers_of(door) or None, "new workers")

    assert told(15_000.0).status == 200
    assert former
    servers.eventually(lambda: not any(map(servers.is_alive, former)) or None, "the end of the former ones")


def test_an_explanation_is_answered_though_the_service_is_told_to_end(door: SocketDoor, told: Told) -> None:
    """The last one: it ends the service."""
    told(15_000.0)
    with ThreadPoolExecutor() as client:
        slow = client.submit(told, SLOW)
        pid = at_work(door)
        os.kill(door.pid, signal.SIGTERM)

    assert slow.result().status == 200
    servers.eventually(lambda: not servers.is_alive(pid) or None, "the end of the process")


# ---- The service with a pool, and without a process


def copied(bundle: Bundle, folder: Path) -> Model:
    bundle.write(folder / bundle.digest)
    return loaded(Copy(str(folder / bundle.digest), "scoring-client", "7", None))


@pytest.fixture(scope="module")
def model(strange: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return copied(strange, tmp_path_factory.mktemp("copies"))


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    pool = Pool()
    yield pool
    pool.end()


def answered(pool: Pool, model: Model, client: Client) -> answers.Answer:
    asked = Service(servers.Serving(model), pool=pool)
    return asked.explain("application/json", None, json.dumps(client).encode(), "id")


def test_a_process_says_of_a_version_that_it_cannot_be_explained(
    pool: Pool, bundle: Bundle, documented_request: Client, tmp_path: Path
) -> None:
    of_before = copied(policy_of(bundle, 0.4, more_code=b"\ndel Scorer.contributions\n"), tmp_path)

    assert answered(pool, of_before, documented_request).status == 501
    assert len(pool._idle) == 1


def test_batches_that_hold_all_their_places_leave_an_explanation_its_own(
    pool: Pool, model: Model, documented_request: Client
) -> None:
    done, threads = holding(Batch.places, many_clients.ROOM.most)
    try:
        answer = answered(pool, model, documented_request)
    finally:
        done.set()
        for thread in threads:
            thread.join()

    assert answer.status == 200


def no_process() -> Any:
    raise BlockingIOError(11, "no process more")


@pytest.mark.parametrize("reason", ["no process can be started", "the model has no copy"])
def test_without_a_process_a_thread_explains(model: Model, documented_request: Client, reason: str) -> None:
    without = model if reason == "no process can be started" else replace(model, copy=None)

    assert answered(Pool(no_process), without, documented_request).status == 200


@pytest.mark.slow
def test_after_the_end_of_the_pool_an_explanation_is_asked_to_come_back(
    model: Model, documented_request: Client
) -> None:
    over = Pool()
    over.end()

    answer = answered(over, model, documented_request)

    assert (answer.status, answer.own_headers) == (503, (("Retry-After", "1"),))
    assert "Trop d’explications" in answer.content.decode()
