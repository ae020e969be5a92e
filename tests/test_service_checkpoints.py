"""A service that makes signed checkpoints of its journal at regular times."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from journal import checkpoints
from journal.record import Kind
from journal.verification import verify
from mlflow_model import processes
from tests import servers
from tests.journal_support import KEY, written_keys
from tests.test_recording import Client, counted, events_in, opened_in, predict, recorded

OFTEN = "0.02"  # minutes


def test_checkpoints_come_at_regular_times_and_are_handed_over(
    documented_pickle: Path, documented_request: Client, tmp_path: Path
) -> None:
    folder, key = places(tmp_path)
    handed_over = tmp_path / "handed over"
    handed_over.mkdir()

    with recorded(
        documented_pickle, tmp_path, **variables(folder, key), **by_copying_to(handed_over)
    ) as door:
        for _ in range(5):
            predict(door, documented_request)
        servers.eventually(lambda: len([*handed_over.glob("*.txt")]) >= 2 or None, "two checkpoints")
        told = counted(door, "scoring_last_checkpoint_timestamp_seconds")

    given = [checkpoints.of_file(file, [KEY.public_key()]) for file in sorted(handed_over.iterdir())]
    with opened_in(tmp_path) as journal, journal.reading() as connection:
        report = verify(connection, given, [KEY.public_key()])
    assert (report.findings, report.receipts) == ([], 5)
    assert max(one.size for one in given) > 5
    assert 0 <= max(one.time.timestamp() for one in given) - int(told) <= 10 * 60 * float(OFTEN)
    assert len(events_in(tmp_path, Kind.CHECKPOINT)) >= len(given)


def places(folder: Path) -> tuple[Path, Path]:
    """A folder for checkpoints, and the file of the private key."""
    private, _ = written_keys(folder)
    wanted = folder / "checkpoints"
    wanted.mkdir()
    return wanted, private


def variables(folder: Path, key: Path) -> dict[str, str]:
    return {
        "JOURNAL_CHECKPOINTS": str(folder),
        "JOURNAL_KEY": str(key),
        "JOURNAL_CHECKPOINT_MINUTES": OFTEN,
    }


def by_copying_to(folder: Path) -> dict[str, str]:
    return {"JOURNAL_CHECKPOINT_COMMAND": f"cp --target-directory '{folder}'"}


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_made_is_told_of_once_and_decisions_go_on(
    documented_pickle: Path, documented_request: Client, tmp_path: Path
) -> None:
    folder, key = places(tmp_path)

    with recorded(documented_pickle, tmp_path, **variables(folder, key)) as door:
        content = key.read_bytes()
        key.write_bytes(b"no key")
        servers.eventually(lambda: "no checkpoint of the journal is made" in door.said or None, "the failure")
        answer = predict(door, documented_request)
        key.write_bytes(content)
        servers.eventually(lambda: "are made again" in door.said or None, "the end of it")

    assert answer.status == 200
    assert door.said.count("no checkpoint of the journal is made") == 1


@pytest.mark.slow
def test_a_checkpoint_that_is_not_handed_over_is_handed_over_with_the_next_one(
    documented_pickle: Path, tmp_path: Path
) -> None:
    folder, key = places(tmp_path)
    (folder / "README.txt").write_text("checkpoints of the journal")
    handed_over = tmp_path / "handed over"

    more = variables(folder, key) | by_copying_to(handed_over)
    with recorded(documented_pickle, tmp_path, **more) as door:
        servers.eventually(lambda: "is made, and not handed over: cp: " in door.said or None, "the failure")
        handed_over.mkdir()
        servers.eventually(lambda: len([*handed_over.iterdir()]) >= 2 or None, "two checkpoints")

    names = {file.name for file in handed_over.iterdir()}
    assert min(names) == min(file.name for file in folder.glob("[0-9]*"))
    assert "README.txt" not in names


@pytest.mark.slow
def test_a_folder_that_is_gone_is_told_of_and_used_again_when_it_is_back(
    documented_pickle: Path, tmp_path: Path
) -> None:
    folder, key = places(tmp_path)
    away = tmp_path / "away"

    with recorded(documented_pickle, tmp_path, **variables(folder, key)) as door:
        servers.eventually(lambda: [*folder.glob("*.txt")] or None, "a checkpoint")
        folder.rename(away)
        servers.eventually(lambda: "the folder for it is gone" in door.said or None, "the failure")
        is_in_its_place = folder.exists()
        before = len([*away.glob("*.txt")])
        away.rename(folder)
        servers.eventually(lambda: len([*folder.glob("*.txt")]) > before or None, "another checkpoint")

    assert not is_in_its_place


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"JOURNAL_URL": "off"}, "JOURNAL_CHECKPOINTS needs a journal"),
        ({"JOURNAL_KEY": ""}, "JOURNAL_CHECKPOINTS needs JOURNAL_KEY"),
        ({"JOURNAL_CHECKPOINTS": "/nowhere"}, "JOURNAL_CHECKPOINTS must name a folder"),
        (
            {"JOURNAL_CHECKPOINT_COMMAND": "keep 'it"},
            "JOURNAL_CHECKPOINT_COMMAND must be a command as in a shell",
        ),
        ({"JOURNAL_CHECKPOINT_MINUTES": "often"}, "not 'often'"),
    ],
    ids=["no journal", "no key", "no folder", "no command", "no number"],
)
def test_a_service_that_is_told_nonsense_does_not_start(
    tmp_path: Path, more: dict[str, str], sentence: str
) -> None:
    journal = {"JOURNAL_URL": f"sqlite:///{tmp_path / 'journal.db'}"}
    environment = {**os.environ, **servers.registry_in(tmp_path), **journal, **variables(*places(tmp_path))}

    done = subprocess.run(
        [sys.executable, "api/app.py", "--port", "0"],
        cwd=servers.ROOT,
        env=environment | more,
        capture_output=True,
        text=True,
        check=False,
        timeout=servers.PATIENCE,
    )

    assert done.returncode == 1
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_command_that_hangs_is_ended_with_all_that_it_began(
    tmp_path: Path,
) -> None:
    started = tmp_path / "started"
    hanging = f"sleep 987 & echo $! > '{started}'; wait"

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        processes.run(["sh", "-c", hanging], seconds=1)

    assert time.monotonic() - began < 10
    begun = int(started.read_text())
    servers.eventually(lambda: not servers.is_alive(begun) or None, "the end of what the command began")


def test_what_a_command_leaves_in_the_background_keeps_nobody_waiting() -> None:
    began = time.monotonic()

    done = processes.run(["sh", "-c", "echo no room >&2; sleep 5 & exit 7"], seconds=20)

    assert done == (7, "no room\n")
    assert time.monotonic() - began < 4
