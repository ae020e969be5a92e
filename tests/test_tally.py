"""No counter falls, whatever becomes of a process, its number, its file, or the folder of all files."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api.counting import tally as tallies
from api.counting import tally_folder
from api.counting.tally import MOST_KEYS, OTHERS, Tally, file_in
from api.counting.tally_folder import TallyFolder
from api.deciding.service import Service
from api.web.routes import flask_app
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.errors import CountsIncomplete
from tests import servers
from tests.live import metric, workers_of
from tests.servers import ROOT, FlaskDoor

pytest_plugins = ["tests.api_support"]

PATH = ("/health", "200")


@pytest.fixture
def folder() -> Iterator[TallyFolder]:
    """The tests themselves look."""
    made = TallyFolder()
    made._looks.stop()
    yield made
    made.cleanup()


def counting(folder: TallyFolder, answers: int) -> Tally:
    """A process that has counted so many answers, as far as its file tells."""
    tally = Tally(file_in(folder.name))
    for _ in range(answers):
        tally.answered(*PATH, 0.001)  # type: ignore[arg-type]
    tally.save()
    return tally


def answers(tally: Tally) -> int:
    return sum(tally.total().seconds[PATH].counts)


def files(folder: TallyFolder) -> list[Path]:
    return sorted(Path(folder.name).glob("*-*.json"))


def test_a_process_that_gets_the_number_of_one_that_has_ended_counts_beside_it(folder: TallyFolder) -> None:
    counting(folder, 5)
    its_namesake = counting(folder, 2)
    folder.look()

    assert answers(its_namesake) == 7


def test_what_an_ended_process_has_counted_stays_and_its_files_go(folder: TallyFolder) -> None:
    code = """
import sys
from api.counting.tally import Tally, file_in
tally = Tally(file_in(sys.argv[1]))
for _ in range(5):
    tally.answered("/health", 200, 0.001)
tally.save()
tally.file.path.with_suffix(".arriving").touch()
"""
    mine = counting(folder, 2)
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code, folder.name], cwd=ROOT, check=True)
    folder.look()
    folder.look()

    assert answers(mine) == 12
    assert mine.file is not None
    assert {path.name for path in Path(folder.name).iterdir()} == {"ended.json", mine.file.path.name}


def test_a_file_that_is_in_the_sum_already_counts_once(folder: TallyFolder) -> None:
    """As it is for a moment: it is removed after the sum has been written."""
    mine, other = counting(folder, 2), counting(folder, 5)
    folder.look()
    assert other.file is not None
    folder._add(other.file.path.name)
    folder._write()

    assert other.file.path.exists()
    assert answers(mine) == 7


def test_a_folder_that_is_cleaned_away_comes_again_with_all_counts(folder: TallyFolder) -> None:
    mine, other = counting(folder, 2), counting(folder, 5)
    folder.look()
    shutil.rmtree(folder.name)
    heard: list[int] = []
    asking = threading.Thread(target=lambda: heard.append(answers(mine)))
    asking.start()
    folder.look()
    for tally in (other, mine):
        tally.save()
    asking.join()

    assert heard == [7]
    assert len(files(folder)) == 2


def test_a_bug_in_one_look_does_not_end_the_summing_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tally_folder, "_LOOK_SECONDS", 0.01)
    folder = TallyFolder()
    with monkeypatch.context() as patch:
        patch.setattr(folder, "_read", lambda: dict[str, str]()["secret"])
        servers.eventually(lambda: "KeyError at " in caplog.text or None, "a complaint")
    mine = counting(folder, 2)
    ended = Path(folder.name) / "ended.json"
    assert mine.file is not None
    name = mine.file.path.name
    servers.eventually(lambda: name in ended.read_text() or None, "its name in the sum")
    folder.cleanup()

    assert caplog.text.count("internal error") == 1


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize("harm", [truncate, Path.unlink, lambda file: file.write_bytes(b"[1]")])
def test_a_file_that_is_damaged_is_written_anew_and_no_sum_is_made_without_it(
    folder: TallyFolder, harm: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = counting(folder, 2), counting(folder, 5)
    folder.look()
    assert other.file is not None
    harm(other.file.path)
    with monkeypatch.context() as patch:
        patch.setattr(tallies, "_PATIENCE_SECONDS", 0.0)
        with pytest.raises(CountsIncomplete):
            answers(mine)
    other.save()

    assert answers(mine) == 7


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"seconds": 1}', b"[" * 10_000])
@pytest.mark.parametrize("name", ["1-0123456789abcdef.json", "notes.json"])
def test_a_file_of_nobody_is_no_matter(folder: TallyFolder, name: str, content: bytes) -> None:
    mine = counting(folder, 2)
    (Path(folder.name) / name).write_bytes(content)
    folder.look()

    assert answers(mine) == 2


def test_a_process_of_an_earlier_release_is_in_the_sum(folder: TallyFolder) -> None:
    """It knows nothing of warnings, and lives on while a service is brought up to date."""
    mine, earlier = counting(folder, 2), counting(folder, 5)
    assert earlier.file is not None
    counted = json.loads(earlier.file.path.read_bytes())
    for name in ("warnings", "screenings"):
        del counted[name]
    earlier.file.write(json.dumps(counted).encode())
    folder.look()

    assert answers(mine) == 7


def test_an_incomplete_sum_is_a_503_at_metrics(
    folder: TallyFolder, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tallies, "_PATIENCE_SECONDS", 0.0)
    mine, other = counting(folder, 2), counting(folder, 5)
    door = FlaskDoor(flask_app(Service(servers.serving(bundle.scorer()), tally=mine)))
    folder.look()
    assert other.file is not None
    other.file.path.unlink()

    answer = door.get("/metrics")

    assert answer.status == 503
    assert answer.error == "Les compteurs sont incomplets : réessayez dans quelques secondes."


@pytest.mark.slow
def test_counts_survive_the_workers_end_and_the_cleaning_of_temporary_files(
    documented_pickle: Path, documented_request: dict[str, float], tmp_path: Path
) -> None:
    name = "scoring_decisions_total"
    with servers.api(servers.alone(documented_pickle, tmp_path), tmp_path / "log") as door:
        servers.ready(door)
        for _ in range(3):
            door.predict(documented_request)
        (former,) = workers_of(door)
        folder = Path(f"/proc/{former}/cmdline").read_text().rstrip("\0").rpartition("\0")[2]
        (its,) = Path(folder).glob(f"{former}-*.json")
        servers.eventually(lambda: b", 3]]" in its.read_bytes() or None, "three decisions in its file")
        os.kill(former, signal.SIGKILL)
        servers.eventually(lambda: set(workers_of(door)) - {former} or None, "another worker")
        servers.ready(door)
        servers.eventually(lambda: not its.exists() or None, "the sum of what has ended")
        Path(folder).rename(tmp_path / "gone")
        door.predict(documented_request)
        found = metric(door, name)

    assert found == 4
    assert not Path(folder).exists()


@pytest.mark.parametrize("label", [lambda number: f"client {number}", lambda number: number])
def test_a_bundle_that_gives_each_client_another_label_does_not_fill_the_metrics(
    bundle: Bundle, label: Callable[[int], object]
) -> None:
    tally, model = Tally(), servers.serving(bundle.scorer(), "1").model
    for number in range(2 * MOST_KEYS):
        decision = {"prediction": label(number), "probability_class_1": 0.5}
        tally.decided(model, {}, decision, 0.001)
        tally.compared("1", str(label(number)), "2", "x" * 10_000)
    found = tally.total()

    assert len(found.decisions) <= MOST_KEYS + 1
    assert sum(found.decisions.values()) == 2 * MOST_KEYS
    assert found.decisions["1", OTHERS] == MOST_KEYS
    assert found.compared_with["1", OTHERS, "2", OTHERS] == MOST_KEYS
    assert max(len(part) for key in found.compared_with for part in key) == tallies.LONGEST_LABEL


@pytest.mark.parametrize("probability", [float("nan"), None, "0.5"])
def test_a_probability_that_is_none_spoils_no_sum(bundle: Bundle, probability: object) -> None:
    tally, model = Tally(), servers.serving(bundle.scorer(), "1").model
    for given in (probability, 0.5):
        decision = {"prediction": "x", "probability_class_1": given}
        tally.decided(model, {}, decision, 0.001)

    assert tally.total().probabilities[("1",)].total == 0.5
