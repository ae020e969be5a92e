"""What the writer promises to those who decide: short turns, the truth on each receipt, counted refusals."""

import dataclasses
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.recording import client
from api.recording.keeper import Keeper
from journal.receipt import Receipt
from journal.record import Entry
from mlflow_model.errors import JournalUnavailable
from tests import servers
from tests.faults import stopped
from tests.journal_support import receipt_of
from tests.live import metrics
from tests.predict_batch_support import ARROW, as_arrow
from tests.recording_support import (
    WITHIN,
    Load,
    answered,
    findings,
    held_against,
    make_journal,
    recording,
    sqlite_in,
    writer_of,
    written,
)
from tests.servers import Answer

Clients = dict[str, Any]


@pytest.mark.endurance
def test_a_large_batch_keeps_nobody_at_predict_waiting_for_a_second(
    documented_pickle: Path, documented_request: Clients, tmp_path: Path
) -> None:
    url = sqlite_in(tmp_path)
    body = as_arrow([documented_request | {"AMT_CREDIT": 200_000.0 + number} for number in range(30_000)])
    answers: list[Answer] = []
    with recording(documented_pickle, tmp_path, url) as door:

        def ask() -> None:
            answers.append(door.send("POST", "/predict/batch", body, {"Content-Type": ARROW}))

        with Load(door.port, documented_request, rate=50, threads=4).going_on() as load:
            load.answers_again()
            asking = threading.Thread(target=ask)
            asking.start()
            asking.join()

    assert [one.status for one in answers] == [200]
    assert load.statuses.keys() == {200}
    assert load.longest < 1.0
    assert sum(not reference for reference, _ in written(url)) == 30_000  # those of the batch have none
    assert findings(url) == []


# ---- A receipt that is sent again


@pytest.fixture
def writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a writer listens, whose journal is in the folder."""
    monkeypatch.setenv("JOURNAL_URL", sqlite_in(tmp_path))
    monkeypatch.setattr(client, "PATIENCE_SECONDS", 30.0)  # the writer is only starting
    make_journal(sqlite_in(tmp_path))
    keeper = Keeper(tmp_path)
    yield keeper.address
    keeper.stop()


def test_a_receipt_that_is_sent_again_is_written_once_and_told_as_written(
    writer: Path, tmp_path: Path
) -> None:
    one, other = receipt_of().entry(), receipt_of().entry()

    client.append(writer, [one])
    client.append(writer, [one])
    client.append(writer, [other])

    assert len(written(sqlite_in(tmp_path))) == 2
    assert findings(sqlite_in(tmp_path)) == []


def _of_another(kept: Receipt, **changes: Any) -> Entry:
    """With the id and the time of the receipt that was kept."""
    return dataclasses.replace(kept, **changes).entry()


@pytest.mark.parametrize(
    "changes",
    [
        {"outputs": ("Zone grise (incertain)", 0.29, 0.71, 0.25, 0.05, 0.2, 0.3)},
        {"time": 1},
        {"inputs": (1.0, 2.0, 3.0)},
        {"client_reference": "another client"},
    ],
    ids=["answer", "time", "inputs", "reference"],
)
def test_another_receipt_under_an_id_that_is_taken_is_not_told_as_written(
    writer: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    kept = receipt_of(0.3)
    client.append(writer, [kept.entry()])

    with pytest.raises(JournalUnavailable):
        client.append(writer, [_of_another(kept, **changes)])

    assert len(written(sqlite_in(tmp_path))) == 1


# ---- What is counted


@pytest.mark.slow
def test_decisions_that_a_stopped_writer_leaves_unanswered_are_counted(
    documented_pickle: Path, documented_request: Clients, tmp_path: Path
) -> None:
    url = sqlite_in(tmp_path)
    with recording(documented_pickle, tmp_path, url) as door:
        with Load(door.port, documented_request, rate=100).going_on() as load:
            load.answers_again()
            with stopped(writer_of(door)):
                load.refuses()
                time.sleep(1.0)
            load.answers_again()
        found = servers.eventually(lambda: _counted(metrics(door), load), "all answers in the metrics")

    assert found["refused"] == load.statuses[503] > 0
    assert found["decided"] == load.statuses[200]
    # The first wait for the writer; once they are late, nothing is decided any more.
    assert 1 <= found["unanswered"] < found["refused"]
    assert load.longest < WITHIN
    held_against(url, load)
    assert answered(url) == set(load.given.values())


def _counted(page: dict[str, float], load: Load) -> dict[str, float] | None:
    """What the page tells, as soon as it knows of all answers: it is saved each half second."""
    requests = {name: count for name, count in page.items() if name.startswith("scoring_requests_total")}
    of_predict = {name: count for name, count in requests.items() if '"/predict"' in name}
    if sum(of_predict.values()) < len(load.met):
        return None
    return {
        "refused": sum(count for name, count in of_predict.items() if '"503"' in name),
        "decided": sum(count for name, count in page.items() if name.startswith("scoring_decisions_total")),
        "unanswered": page['scoring_decisions_unanswered_total{path="/predict"}'],
    }
