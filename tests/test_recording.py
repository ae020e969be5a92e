"""A decision leaves the service only when its receipt is on the disk, whatever becomes of the writer."""

import json
import os
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from journal import ids, reading, store
from journal.errors import NoJournal
from journal.record import Kind
from journal.verification import verify
from tests import servers
from tests.live import children_of
from tests.predict_batch_support import WRITERS, decisions
from tests.servers import JSON, Answer, SocketDoor

pytest_plugins = ["tests.api_support"]

Client = dict[str, Any]
UNRECORDED = "La décision n’a pas pu être enregistrée, et n’est donc pas rendue : réessayez dans une seconde."


@contextmanager
def recorded(pickle: Path, folder: Path, **more: str) -> Iterator[SocketDoor]:
    """A service with a journal in the folder."""
    url = f"sqlite:///{folder / 'journal.db'}"
    environment = servers.alone(pickle, folder) | {"JOURNAL_URL": url} | more
    with servers.api(environment, folder / "log") as door:
        servers.ready(door)
        servers.eventually(lambda: is_made(folder) or None, "a journal")
        yield door


def is_made(folder: Path) -> bool:
    try:
        with opened_in(folder):
            return True
    except NoJournal:
        return False


@pytest.fixture(scope="module")
def door(documented_pickle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SocketDoor]:
    """A service that nobody harms. Its journal is beside its log."""
    with recorded(documented_pickle, tmp_path_factory.mktemp("recorded")) as found:
        yield found


def receipts_in(folder: Path) -> dict[str, reading.Record]:
    """The receipts of the journal in this folder, by their ids."""
    with opened_in(folder) as journal, journal.reading() as connection:
        records = [one for page in reading.records(connection) for one in page]
    return {ids.written(one.id): one for one in records if one.kind is Kind.RECEIPT}


@contextmanager
def opened_in(folder: Path) -> Iterator[store.Journal]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JOURNAL_URL", f"sqlite:///{folder / 'journal.db'}")
        with closing(store.opened()) as journal:
            yield journal


def decision_id(answer: Answer) -> str:
    return answer.headers["X-Decision-Id"]


def predict(door: SocketDoor, client: Client, **headers: str) -> Answer:
    return door.send("POST", "/predict", json.dumps(client).encode(), JSON | headers)


def test_a_decision_has_a_receipt_of_all_that_was_asked_and_answered(
    door: SocketDoor, documented_request: Client
) -> None:
    asked = documented_request | {"EXT_SOURCE_1": None}

    answer = predict(door, asked, **{"X-Client-Reference": "dossier 12", "X-Request-Id": "r-1"})

    receipt = receipts_in(door.log.parent)[decision_id(answer)]
    kept, client = receipt.kept, receipt.client
    assert client is not None
    assert receipt.model is not None
    inputs = [None if value != value else value for value in client.inputs]
    assert list(kept.outputs) == [*answer.content.values()]
    assert inputs == [asked[name] for name in receipt.model.features]
    assert (client.request_id, client.client_reference, kept.door) == ("r-1", "dossier 12", "predict")
    assert receipt.model.digest == answer.headers["X-Model-Digest"]
    assert (door.log.parent / "journal.db").stat().st_mode & 0o777 == 0o600


def test_each_client_of_a_batch_has_a_receipt(door: SocketDoor, documented_request: Client) -> None:
    clients = [documented_request | {"AMT_CREDIT": 200_000 + number} for number in range(300)]
    before = receipts_in(door.log.parent).keys()

    small = door.send("POST", "/predict/batch", json.dumps(clients[:3]).encode(), JSON)
    large = door.send("POST", "/predict/batch", json.dumps(clients).encode(), JSON)

    assert (small.status, large.status) == (200, 200)
    receipts = [one.kept for own_id, one in receipts_in(door.log.parent).items() if own_id not in before]
    answered = [tuple(decision.values()) for decision in small.content + large.content]
    assert sorted(one.outputs for one in receipts) == sorted(answered)
    assert len({one.call_id for one in receipts}) == 2
    assert {one.door for one in receipts} == {"predict/batch"}


@pytest.mark.parametrize("form", WRITERS)
def test_a_batch_tells_the_ids_of_its_receipts_where_they_are_asked_for(
    door: SocketDoor, documented_request: Client, form: str
) -> None:
    clients = [documented_request | {"AMT_CREDIT": 300_000 + number} for number in range(3)]

    answer = door.send("POST", "/predict/batch?ids=1", WRITERS[form](clients), {"Content-Type": form})

    told = decisions(answer)
    receipts = receipts_in(door.log.parent)
    assert [list(row)[-1] for row in told] == ["decision_id"] * 3
    for row, client in zip(told, clients, strict=True):
        receipt = receipts[row["decision_id"]]
        assert receipt.client is not None
        assert client["AMT_CREDIT"] in receipt.client.inputs
        assert receipt.kept.outputs[1] == row["probability_class_1"]


def test_a_batch_has_no_reference_of_one_client(door: SocketDoor, documented_request: Client) -> None:
    body = json.dumps([documented_request]).encode()

    answer = door.send("POST", "/predict/batch", body, JSON | {"X-Client-Reference": "dossier"})

    assert answer.status == 400
    assert answer.error.endswith(
        "X-Client-Reference nomme un seul client ; un lot demande les numéros par ids=1"
    )


@pytest.mark.parametrize("asked", ["ids=2", "ids=", "ids=1&ids=1", "ids=oui"])
def test_ids_of_a_batch_are_asked_for_by_1_alone(
    door: SocketDoor, documented_request: Client, asked: str
) -> None:
    body = json.dumps([documented_request]).encode()

    answer = door.send("POST", f"/predict/batch?{asked}", body, JSON)

    assert answer.status == 400
    assert answer.error == "Erreur lors du traitement des données : ids ne peut valoir que 1"


@pytest.mark.parametrize("reference", ["", "é", "x" * 65, "a\tb"], ids=["empty", "accent", "long", "tab"])
def test_a_reference_that_is_none_is_refused_and_leaves_no_receipt(
    door: SocketDoor, documented_request: Client, reference: str
) -> None:
    before = receipts_in(door.log.parent).keys()

    refused = predict(door, documented_request, **{"X-Client-Reference": reference})
    missing = predict(door, {})

    assert (refused.status, missing.status) == (400, 400)
    assert "X-Client-Reference" in refused.error
    assert "X-Decision-Id" not in {**refused.headers, **missing.headers}
    assert receipts_in(door.log.parent).keys() == before


def test_two_references_are_none(door: SocketDoor, documented_request: Client) -> None:
    before = receipts_in(door.log.parent).keys()
    body = json.dumps(documented_request)
    head = [
        "POST /predict HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        "Connection: close",
    ]
    head += ["X-Client-Reference: dossier 1", "X-Client-Reference: dossier 2", f"Content-Length: {len(body)}"]

    answer = door.send_raw("\r\n".join([*head, "", body]).encode())

    assert answer.status == 400
    assert "X-Client-Reference" in answer.error
    assert receipts_in(door.log.parent).keys() == before


@pytest.mark.slow
def test_without_a_journal_a_decision_has_no_id(
    documented_pickle: Path, documented_request: Client, tmp_path: Path
) -> None:
    environment = servers.alone(documented_pickle, tmp_path) | {"JOURNAL_URL": "off"}
    with servers.api(environment, tmp_path / "log") as door:
        servers.ready(door)
        answer = predict(door, documented_request)

        state = door.get("/ready").content["journal"]

    assert answer.status == 200
    assert "X-Decision-Id" not in answer.headers
    assert state == "off"
    assert "JOURNAL_URL=off: no decision is recorded" in door.said


@pytest.mark.slow
def test_who_says_nothing_of_a_journal_gets_one_in_the_folder_of_the_project(
    documented_pickle: Path, documented_request: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JOURNAL_URL")
    project = tmp_path / "project"
    shutil.copytree(servers.ROOT, project, ignore=_NOT_OURS)

    with servers.api(servers.alone(documented_pickle, tmp_path), tmp_path / "log", folder=project) as door:
        servers.ready(door)
        answer = predict(door, documented_request)

    assert answer.status == 200
    assert decision_id(answer) in receipts_in(project)


_NOT_OURS = shutil.ignore_patterns(".*", "tests", "benchmarks", "docs", "journal.db*", "mlflow.db*", "mlruns")


def test_a_version_that_is_served_is_in_the_journal_before_anybody_asks(door: SocketDoor) -> None:
    digest = door.get("/ready").content["digest"]

    (served,) = servers.eventually(lambda: events_in(door.log.parent, Kind.SERVED) or None, "the event")

    assert served.model is not None
    assert served.model.digest == digest
    assert len(events_in(door.log.parent, Kind.START)) == 1


def events_in(folder: Path, kind: Kind) -> list[reading.Record]:
    with opened_in(folder) as journal, journal.reading() as connection:
        return [one for page in reading.records(connection) for one in page if one.kind is kind]


def test_the_metrics_tell_of_receipts(door: SocketDoor, documented_request: Client) -> None:
    before = counted(door, 'scoring_receipts_total{path="/predict"}')
    predict(door, documented_request)
    body = json.dumps([documented_request] * 7).encode()
    of_batches = counted(door, 'scoring_receipts_total{path="/predict/batch"}')
    door.send("POST", "/predict/batch", body, JSON)

    assert counted(door, 'scoring_receipts_total{path="/predict"}') == before + 1
    assert counted(door, 'scoring_receipts_total{path="/predict/batch"}') == of_batches + 7
    assert counted(door, 'scoring_receipt_commit_seconds_count{path="/predict"}') >= 1
    assert counted(door, "scoring_receipts_waiting") == 0
    assert counted(door, "scoring_journal_writable") == 1


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_what_is_not_recorded_is_counted_from_0_on_so_that_the_first_one_is_an_increase(
    door: SocketDoor, path: str
) -> None:
    page = door.get("/metrics").body.decode()

    assert f'scoring_decisions_unanswered_total{{path="{path}"}} 0.0\n' in page
    assert f'scoring_decisions_not_recorded_total{{path="{path}"}} 0.0\n' in page


def counted(door: SocketDoor, name: str) -> float:
    lines = door.get("/metrics").body.decode().splitlines()
    return next((float(line.split()[1]) for line in lines if line.startswith(f"{name} ")), 0.0)


@pytest.mark.slow
def test_flasks_own_server_records_decisions_too(
    documented_pickle: Path, documented_request: Client, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    environment = servers.alone(documented_pickle, tmp_path) | {"JOURNAL_URL": url}

    with servers.api(environment, tmp_path / "log", options=["--debug"]) as door:
        servers.ready(door)
        one = predict(door, documented_request)
        many = door.send("POST", "/predict/batch?ids=1", json.dumps([documented_request] * 2).encode(), JSON)
        state = door.get("/ready").content["journal"]

    ids_of_many = [row["decision_id"] for row in many.content]
    assert receipts_in(tmp_path).keys() == {decision_id(one), *ids_of_many}
    assert state == "writable"
    assert len(events_in(tmp_path, Kind.SERVED)) == 1
    assert len(events_in(tmp_path, Kind.END)) == 1


# ---- What happens to the writer, to workers, and to the file


class Asking:
    """Asks for decisions without a pause, until the end. Holds the answers."""

    def __init__(self, door: SocketDoor, client: Client) -> None:
        self.answers: list[Answer] = []
        self.longest = 0.0
        self._door, self._client = door, client
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]

    def __enter__(self) -> "Asking":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def statuses(self, since: int = 0) -> set[int]:
        return {one.status for one in self.answers[since:]}

    @property
    def decided(self) -> list[str]:
        return [decision_id(one) for one in self.answers if one.status == 200]

    def _ask(self) -> None:
        while not self._is_over.is_set():
            started = time.monotonic()
            try:
                answer = predict(self._door, self._client)
            except OSError:  # a worker was killed
                continue
            self.longest = max(self.longest, time.monotonic() - started)
            self.answers.append(answer)


@pytest.mark.parametrize(
    "module", ["api.recording.writer_process", pytest.param("api.server.worker", marks=pytest.mark.slow)]
)
def test_each_answer_is_in_the_journal_though_processes_are_killed(
    documented_pickle: Path, documented_request: Client, tmp_path: Path, module: str
) -> None:
    with recorded(documented_pickle, tmp_path) as door, Asking(door, documented_request) as asking:
        for _ in range(4):
            kill_one(door, module)
            answers_again(asking)
    receipts = receipts_in(tmp_path)

    assert set(asking.decided) <= receipts.keys()
    assert len(set(asking.decided)) == len(asking.decided)
    assert asking.statuses() <= {200, 503}
    with opened_in(tmp_path) as journal, journal.reading() as connection:
        assert verify(connection).findings == []


def kill_one(door: SocketDoor, module: str) -> None:
    """Kill a process of this module. Return when another one is there."""
    (victim,) = servers.eventually(lambda: children_of(door, module) or None, "a process to kill")
    os.kill(victim, signal.SIGKILL)
    servers.eventually(lambda: set(children_of(door, module)) - {victim} or None, "another one")


def answers_again(asking: Asking) -> None:
    before = len(asking.decided)
    servers.eventually(lambda: len(asking.decided) > before + 10 or None, "decisions")


@pytest.mark.slow
def test_while_the_journal_is_locked_decisions_are_refused_within_a_second_and_then_made_again(
    documented_pickle: Path, documented_request: Client, tmp_path: Path
) -> None:
    with recorded(documented_pickle, tmp_path) as door:
        predict(door, documented_request)
        with Asking(door, documented_request) as asking:
            with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as locking:
                locking.execute("BEGIN IMMEDIATE")
                before = len(asking.answers)
                time.sleep(3.0)
                during = asking.answers[before + 8 :]
                locking.execute("ROLLBACK")
            answers_again(asking)

    assert {one.status for one in during} == {503}
    assert {one.error for one in during} == {UNRECORDED}
    assert all(one.headers["Retry-After"] == "1" for one in during)
    digests = {one.headers.get("X-Model-Digest") for one in asking.answers}
    assert len(digests) == 1  # of decisions, of those that could not be recorded, and of those not made
    assert None not in digests
    assert asking.longest < 1.5  # of a client beside three others on a busy machine
    assert set(asking.decided) <= receipts_in(tmp_path).keys()
    assert "the journal cannot be written" in door.said
    assert "the journal is written again" in door.said


@pytest.mark.slow
def test_readiness_tells_of_a_locked_journal_and_of_its_end_though_nobody_asks_for_a_decision(
    documented_pickle: Path, documented_request: Client, tmp_path: Path
) -> None:
    with recorded(documented_pickle, tmp_path) as door:
        with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as locking:
            locking.execute("BEGIN IMMEDIATE")
            computed = predict(door, documented_request)
            servers.eventually(lambda: state_at(door) == "unavailable" or None, "the state")
            refused = predict(door, documented_request)
            batch = door.send("POST", "/predict/batch", json.dumps([documented_request] * 7).encode(), JSON)
            at_metrics = counted(door, "scoring_journal_writable")
            locking.execute("ROLLBACK")
        servers.eventually(lambda: state_at(door) == "writable" or None, "the state again")
        unanswered = counted(door, 'scoring_decisions_unanswered_total{path="/predict"}')
        answered = counted(door, 'scoring_requests_total{path="/predict",status="503"}')
        paths = ("/predict", "/predict/batch")
        before = [counted(door, f'scoring_decisions_not_recorded_total{{path="{one}"}}') for one in paths]

    assert (computed.status, refused.status, batch.status, at_metrics) == (503, 503, 503, 0)
    assert (unanswered, answered, before) == (1, 2, [1, 1])


def state_at(door: SocketDoor) -> str:
    return str(door.get("/ready").content["journal"])


@pytest.mark.slow
def test_a_file_that_the_database_calls_damaged_is_unavailable_until_it_is_sound_again(
    documented_pickle: Path, documented_request: Client, tmp_path: Path
) -> None:
    file = tmp_path / "journal.db"
    with recorded(documented_pickle, tmp_path) as door:
        given = {decision_id(predict(door, documented_request)) for _ in range(3)}
        with damaged_index(file):
            refused = [predict(door, documented_request) for _ in range(3)]
            servers.eventually(lambda: state_at(door) == "unavailable" or None, "the damage")
            states, writable = set[str](), set[float]()
            until = time.monotonic() + 3.0
            while time.monotonic() < until:
                states.add(state_at(door))
                writable.add(counted(door, "scoring_journal_writable"))
                refused.append(predict(door, documented_request))
        servers.eventually(lambda: state_at(door) == "writable" or None, "the end of it")
        given.add(decision_id(predict(door, documented_request)))

    assert {(one.status, one.error) for one in refused} == {(503, UNRECORDED)}
    assert (states, writable) == ({"unavailable"}, {0.0})
    assert receipts_in(tmp_path).keys() == given
    assert door.said.count("the journal cannot be written: the journal's file is damaged") == 1
    with opened_in(tmp_path) as journal, journal.reading() as connection:
        assert verify(connection).findings == []


@contextmanager
def damaged_index(file: Path) -> Iterator[None]:
    """Nonsense in the page with which the index of the receipts' times begins. It is put right at the end."""
    query = "SELECT rootpage FROM sqlite_master WHERE name = 'record_by_time'"
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        (page,), (size,) = other.execute(query).fetchone(), other.execute("PRAGMA page_size").fetchone()

        def put(content: bytes) -> bytes:
            """In the page's place, so that everybody reads it anew. Return what was there."""
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")
            assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
            with file.open("r+b") as stream:
                stream.seek((page - 1) * size)
                before = stream.read(size)
                stream.seek((page - 1) * size)
                stream.write(content or before)
            other.execute("UPDATE journal SET writers = writers")
            return before

        sound = put(b"\xff" * size)
        try:
            yield
        finally:
            put(sound)


@pytest.mark.slow
def test_a_writer_that_is_stopped_is_replaced_and_nobody_waits_for_it(
    documented_pickle: Path, documented_request: Client, tmp_path: Path
) -> None:
    with recorded(documented_pickle, tmp_path) as door, Asking(door, documented_request) as asking:
        servers.eventually(lambda: len(asking.answers) > 5 or None, "answers")
        (stopped,) = children_of(door, "api.recording.writer_process")
        os.kill(stopped, signal.SIGSTOP)
        servers.eventually(lambda: 503 in asking.statuses() or None, "a refusal")
        servers.eventually(
            lambda: set(children_of(door, "api.recording.writer_process")) - {stopped} or None, "another"
        )
        answers_again(asking)

    assert set(asking.decided) <= receipts_in(tmp_path).keys()
    assert asking.longest < 1.5
