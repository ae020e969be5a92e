"""A service that makes signed checkpoints of its journal at regular times."""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from api.recording import last_checkpoint
from journal import checkpoints
from journal.record import Kind
from journal.verification import verify
from mlflow_model import processes
from tests import servers
from tests.journal_support import KEY, written_keys
from tests.test_recording import Client, counted, events_in, opened_in, predict, recorded

OFTEN = "0.02"  # minutes


@pytest.fixture
def handed_over(tmp_path: Path) -> Path:
    """Where a service puts copies of its checkpoints."""
    folder = tmp_path / "handed over"
    folder.mkdir()
    return folder


def test_checkpoints_come_at_regular_times_and_are_handed_over(
    documented_pickle: Path, documented_request: Client, handed_over: Path, tmp_path: Path
) -> None:
    folder, key = places(tmp_path)

    with recorded(
        documented_pickle, tmp_path, **variables(folder, key), **by_copying_to(handed_over)
    ) as door:
        for _ in range(5):
            predict(door, documented_request)
        await_checkpoints(handed_over, 2)
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


def await_checkpoints(folder: Path, count: int) -> None:
    servers.eventually(lambda: len([*folder.glob("*.txt")]) >= count or None, f"{count} checkpoints")


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
        await_checkpoints(handed_over, 2)

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
        await_checkpoints(folder, 1)
        folder.rename(away)
        servers.eventually(lambda: "the folder for it is gone" in door.said or None, "the failure")
        is_in_its_place = folder.exists()
        before = len([*away.glob("*.txt")])
        away.rename(folder)
        await_checkpoints(folder, before + 1)

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
        (
            {"JOURNAL_CHECKPOINT_COMMAND": "  "},
            "must be a command, and names none",
        ),
        ({"JOURNAL_CHECKPOINT_MINUTES": "often"}, "not 'often'"),
    ],
    ids=["no journal", "no key", "no folder", "no command", "an empty command", "no number"],
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


def test_a_flood_of_errors_takes_neither_memory_nor_disk() -> None:
    flood = "head -c 300000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo 'the vault is down' >&2; exit 3"

    done = processes.run(["sh", "-c", flood], seconds=60)

    assert done.exit_code == 3
    assert done.errors.endswith("\nthe vault is down\n")
    assert len(done.errors) <= 64 * 1024


def test_a_command_that_is_not_wanted_any_more_is_ended_at_once() -> None:
    began = time.monotonic()

    with pytest.raises(TimeoutError):
        processes.run(["sleep", "600"], 600, is_over=lambda: time.monotonic() > began + 0.5)

    assert time.monotonic() - began < 5


def test_a_command_ends_with_the_process_that_runs_it(tmp_path: Path) -> None:
    command = ["sh", "-c", f"echo $$ > '{tmp_path}/pid'; sleep 600"]
    running = f"from mlflow_model import processes; processes.run({command!r}, 600)"
    parent = subprocess.Popen([sys.executable, "-c", running], cwd=servers.ROOT)
    begun = int(servers.eventually(lambda: _text(tmp_path / "pid"), "the command"))

    parent.kill()
    parent.wait()

    servers.eventually(lambda: not servers.is_alive(begun) or None, "the end of the command")


def _text(file: Path) -> str | None:
    return (file.read_text() or None) if file.is_file() else None


@pytest.mark.slow
def test_what_was_not_handed_over_is_handed_over_by_the_next_service(
    documented_pickle: Path, handed_over: Path, tmp_path: Path
) -> None:
    folder, key = places(tmp_path)
    more = variables(folder, key) | by_copying_to(handed_over)
    with recorded(documented_pickle, tmp_path, **more):
        await_checkpoints(handed_over, 1)
    first = {one.name for one in handed_over.iterdir()}
    down = more | {"JOURNAL_CHECKPOINT_COMMAND": "false"}
    with recorded(documented_pickle, tmp_path, **down):
        await_checkpoints(folder, len(first) + 1)
    kept_back = {one.name for one in folder.glob("*.txt")} - first

    with recorded(documented_pickle, tmp_path, **more):
        servers.eventually(lambda: kept_back <= {one.name for one in handed_over.iterdir()} or None, "them")

    assert kept_back


@pytest.mark.parametrize("minutes", ["abc", "0", "-1"])
@pytest.mark.slow
def test_minutes_between_no_checkpoints_are_of_no_concern(
    documented_pickle: Path, tmp_path: Path, minutes: str
) -> None:
    with recorded(documented_pickle, tmp_path, JOURNAL_CHECKPOINT_MINUTES=minutes) as door:
        statuses = [door.get(path).status for path in ("/health", "/ready", "/metrics", "/docs")]

    assert statuses == [200] * 4
    assert "another takes its place" not in door.said


def test_a_checkpoint_of_no_moment_or_of_the_future_silences_no_alarm(tmp_path: Path) -> None:
    for name in ("20261127T010203Z-7.txt", "20269999T999999Z-1.txt", "99991231T235959Z-1.txt"):
        (tmp_path / name).touch()

    assert last_checkpoint.time_in(tmp_path) == datetime(2026, 11, 27, 1, 2, 3, tzinfo=UTC).timestamp()


def test_what_a_command_leaves_in_the_background_keeps_nobody_waiting() -> None:
    began = time.monotonic()

    done = processes.run(["sh", "-c", "echo no room >&2; sleep 5 & exit 7"], seconds=20)

    assert done == (7, "no room\n")
    assert time.monotonic() - began < 4
