"""An applicant's values are in the journal, whose files are for their owner alone, and nowhere else."""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mlflow_model.bundle.bundles import Bundle
from tests import servers
from tests.live import Registry, policy_of, serving
from tests.predict_batch_support import WRITERS
from tests.recording_support import locked, sqlite_in, written
from tests.servers import JSON, SocketDoor
from tests.test_recording import is_made

pytest_plugins = ["tests.live_support"]

Client = dict[str, Any]
MARKS = ("271828", "314159", "MARKED")  # in numbers, and in all texts that are the applicant's
FAILING = {"AMT_GOODS_PRICE": 161_803.25}
FAILS = b"""

def failing(decide):
    def failed(self, clients, *more):
        if 161803.25 in list(clients["AMT_GOODS_PRICE"] if more_than_one(clients) else clients.values()):
            raise ValueError(str(dict(clients)))
        return decide(self, clients, *more)
    return failed

def more_than_one(clients):
    return hasattr(clients["AMT_GOODS_PRICE"], "__len__")

Scorer.decide = failing(Scorer.decide)
Scorer.decide_table = failing(Scorer.decide_table)
"""


@contextmanager
def _open_to_all() -> Iterator[None]:
    """For new processes: whatever they make, everybody may read and write, unless they see to it."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


@pytest.fixture
def marked(documented_request: Client) -> Client:
    return documented_request | {"AMT_CREDIT": 271_828.25, "EXT_SOURCE_1": 0.314159}


@pytest.mark.slow
def test_an_applicants_values_are_in_the_journal_alone_whatever_is_asked_and_goes_wrong(
    live: Registry, bundle: Bundle, marked: Client, tmp_path: Path
) -> None:
    live.add(policy_of(bundle, 0.3, more_code=FAILS), alias="champion")
    temporary = tmp_path / ("a-long-name-" * 8)
    temporary.mkdir()
    url = sqlite_in(tmp_path)
    with _open_to_all(), serving(live, 1, JOURNAL_URL=url, TMPDIR=str(temporary)) as door:
        servers.eventually(lambda: is_made(tmp_path) or None, "a journal")
        statuses = _ask_everything(door, marked)
        recorded = written(url)
        explained = {door.send("POST", "/explain", body, told).status for body, told in _single(marked)}
        with locked(url):
            away = _ask_everything(door, marked)
        seen = door.said + door.get("/metrics").body.decode() + door.get("/ready").body.decode()
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.glob("journal.db*")}
        elsewhere = _files_with_marks(tmp_path)

    assert statuses == {200, 400, 413, 415, 500}
    assert away >= {503}
    assert explained >= {200, 400, 413, 415}
    assert written(url)[: len(recorded)] == recorded
    assert len(recorded) == len(written(url))
    assert [mark for mark in MARKS if mark in seen] == []
    assert elsewhere == []
    assert modes == {"journal.db": 0o600, "journal.db-wal": 0o600, "journal.db-shm": 0o600}
    assert len(written(url)) >= 1 + 3 * 2


def _ask_everything(door: SocketDoor, marked: Client) -> set[int]:
    """Decisions, refusals and failures at both paths. The statuses."""
    answers = [door.send("POST", "/predict", body, headers) for body, headers in _single(marked)]
    answers += [door.send("POST", path, body, headers) for path, body, headers in _batches(marked)]
    door.get("/predict/MARKED?MARKED=271828")
    return {answer.status for answer in answers}


def _single(marked: Client) -> Iterator[tuple[bytes, dict[str, str]]]:
    told, body = JSON | {"X-Client-Reference": "MARKED-REFERENCE"}, json.dumps(marked).encode()
    for changes in ({}, {"MARKED-KEY": 1}, {"EXT_SOURCE_2": "MARKED-TEXT"}, FAILING):
        yield json.dumps(marked | changes).encode(), told
    yield body[:-1], told
    yield body + b" " * 2_000_000, told
    yield body, JSON | {"X-Client-Reference": "MARKED\t"}
    yield body, {"Content-Type": "MARKED/x"}


def _batches(marked: Client) -> Iterator[tuple[str, bytes, dict[str, str]]]:
    for form, write in WRITERS.items():
        told = {"Content-Type": form}
        for changes in ({}, FAILING, {"EXT_SOURCE_2": 31_415_900.0}):
            yield "/predict/batch", write([marked, marked | changes]), told
        yield "/predict/batch?ids=1&keep=MARKED", write([marked]), told
        yield "/predict/batch", write([marked])[:-9], told


def _files_with_marks(folder: Path) -> list[Path]:
    """Those that are not the journal's, by their content or their name."""
    files = [file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("journal.db")]
    marks = [mark.encode() for mark in MARKS]
    return [file for file in files if any(mark in file.read_bytes() + file.name.encode() for mark in marks)]
