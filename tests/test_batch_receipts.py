"""A batch call leaves its receipts all or none: what is there of a call that failed was never answered."""

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow.parquet
import pytest

from journal import ids
from journal.__main__ import main
from journal.events import Answered
from journal.record import Kind
from journal.verification import verify
from tests import servers
from tests.faults import without_growth
from tests.journal_support import rows
from tests.recording_support import replaced, writer_of
from tests.review_support import Bank, Client, bank_in
from tests.servers import Answer
from tests.test_recording import UNRECORDED, events_in, opened_in

pytest_plugins = ["tests.api_support", "tests.review_fixtures"]

MANY = 3_000  # more than some groups hold
_WRITER = "api.recording.writer_process"


@pytest.fixture(scope="module")
def bank(
    documented_pickle: Path,
    client_of_each_label: dict[str, Client],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Bank]:
    """A bank without tokens, whose journal becomes too large in the middle of a batch."""
    folder = tmp_path_factory.mktemp("batches")
    with bank_in(folder, documented_pickle, client_of_each_label, has_tokens=False) as found:
        yield found


def ask(bank: Bank, clients: int) -> Answer:
    return bank.send(None, "POST", "/predict/batch?ids=1", [bank.clients["grey"]] * clients)


@pytest.fixture(scope="module")
def answered(bank: Bank) -> list[str]:
    """The decisions of a small batch, and of one that fills several groups."""
    answers = [ask(bank, 3), ask(bank, 1_000)]
    assert [one.status for one in answers] == [200, 200]
    return [row["decision_id"] for answer in answers for row in answer.content]


@pytest.fixture(scope="module")
def unanswered(bank: Bank, answered: list[str]) -> list[str]:
    """The decisions that are in the journal of a batch that the disk refused in its middle."""
    log = bank.folder / "journal.db-wal"
    with without_growth(writer_of(bank.door), log.stat().st_size + 400_000):
        refused = ask(bank, MANY)
    assert (refused.status, refused.error) == (503, UNRECORDED)
    servers.eventually(
        lambda: bank.door.get("/ready").content["journal"] == "writable" or None, "the journal"
    )
    left = [ids.written(one.id) for one in events_in(bank.folder, Kind.RECEIPT)]
    found = [one for one in left if one not in answered]
    assert 0 < len(found) < MANY
    return found


def test_a_call_is_closed_by_an_event_that_counts_its_receipts(bank: Bank, answered: list[str]) -> None:
    kinds = rows(bank.folder / "journal.db", "SELECT kind, subject FROM record ORDER BY position")
    events = events_in(bank.folder, Kind.ANSWERED)

    told = [(one.subject, one.event) for one in events if isinstance(one.event, Answered)]
    for call, event in told:
        receipts = [place for place, row in enumerate(kinds) if row == (Kind.RECEIPT, call)]
        assert event.receipts == len(receipts)
        assert kinds[receipts[-1] + 1] == (Kind.ANSWERED, call)  # written with the last group
    assert [event.receipts for _, event in told] == [3, 1_000]


def test_a_call_that_failed_waits_for_no_review(
    bank: Bank, answered: list[str], unanswered: list[str]
) -> None:
    found, after = set[str](), ""
    while after is not None:
        page = bank.get(None, f"/decisions?open=true&limit=500{after and f'&after={after}'}").content
        found |= {one["id"] for one in page["decisions"]}
        after = page["next"]

    assert found == set(answered)


@pytest.mark.slow
def test_a_call_that_failed_is_shown_as_one(bank: Bank, answered: list[str], unanswered: list[str]) -> None:
    given, failed = (bank.get(None, f"/decisions/{one[-1]}").content for one in (answered, unanswered))
    newest = bank.get(None, "/decisions?limit=1").content["decisions"]

    assert (given["is_answered"], failed["is_answered"]) == (True, False)
    assert [(one["id"], one["is_answered"]) for one in newest] == [(unanswered[-1], False)]


@pytest.mark.slow
def test_the_commands_say_what_was_never_answered(
    bank: Bank,
    answered: list[str],
    unanswered: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("JOURNAL_URL", f"sqlite:///{bank.folder / 'journal.db'}")
    file = tmp_path / "out.parquet"

    codes = [main(["list", "--limit", "5000"]), main(["show", unanswered[0]])]
    listed = capsys.readouterr().out
    codes += [main(["show", answered[0]]), main(["list", "--open"]), main(["export", "--output", str(file)])]
    said = capsys.readouterr()
    table = pyarrow.parquet.read_table(file, columns=["decision_id", "is_answered"]).to_pylist()

    assert codes == [0] * 5
    states = [line.split("\t") for line in listed.splitlines() if "\t" in line][1:]
    assert {row[0] for row in states if row[-2] == "unanswered"} == set(unanswered)
    assert "Jamais rendue\u00a0: son lot est sans réponse, ou encore en cours" in listed
    assert "Jamais rendue" not in said.out
    assert f" of {len(answered):,} decisions" in said.err
    assert {row["decision_id"] for row in table if not row["is_answered"]} == set(unanswered)


@pytest.mark.slow
def test_a_batch_is_answered_though_the_writer_is_killed_and_its_receipts_are_there_once(
    documented_pickle: Path, client_of_each_label: dict[str, Client], tmp_path: Path
) -> None:
    with bank_in(tmp_path, documented_pickle, client_of_each_label, has_tokens=False) as bank:
        ask(bank, 1)
        answers: list[Answer] = []
        asking = threading.Thread(target=lambda: answers.append(ask(bank, MANY)))
        victim = writer_of(bank.door)
        with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as looking:
            asking.start()
            while looking.execute("SELECT count(*) FROM record WHERE kind = 1").fetchone()[0] < 501:
                time.sleep(0.001)
        os.kill(victim, signal.SIGKILL)
        asking.join()
        replaced(bank.door, _WRITER, victim)

    (answer,) = answers
    assert answer.status == 200
    receipts = [ids.written(one.id) for one in events_in(tmp_path, Kind.RECEIPT)]
    assert receipts[1:] == [row["decision_id"] for row in answer.content]
    with opened_in(tmp_path) as journal, journal.reading() as connection:
        assert verify(connection).findings == []
