"""The same command once more with --resume, where its output is whole already: as a scheduler tries again."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests import batch_support
from tests.batch_support import TABLE, batch, files_in

pytest_plugins = ["tests.batch_fixtures"]


@pytest.fixture
def given(bundle_folder: Path, tmp_path: Path) -> tuple[object, ...]:
    """The options of a run that has ended, one bad row among its clients."""
    rows = batch_support.cells(TABLE.slice(0, 20))
    rows[7]["AMT_CREDIT"] = "beaucoup"
    (tmp_path / "in.csv").write_text(batch_support.as_csv(rows), encoding="utf-8", newline="")
    options = (
        *("--input", tmp_path / "in.csv", "--output", f"{tmp_path / 'o'}/", "--model", bundle_folder),
        *("--bad-rows", f"quarantine={tmp_path / 'bad.csv'}", "--resume"),
    )
    assert batch(*options).returncode == 0
    return options


def remove(file: Path) -> None:
    file.unlink()


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


@pytest.mark.parametrize(
    ("spoil", "name", "sentence"),
    [
        (remove, "o/part-00000.parquet", "part-00000.parquet is gone: remove {0}/o, and begin anew"),
        (cut, "o/part-00000.parquet", "part-00000.parquet was changed: remove {0}/o, and begin anew"),
        (cut, "o/_run.json", "{0}/o is there already: name a folder that is not"),
        (remove, "bad.csv", "{0}/bad.csv is not there as the run before has left it: remove the output, too"),
        (cut, "bad.csv", "{0}/bad.csv is not there as the run before has left it: remove the output, too"),
    ],
)
def test_what_is_missing_is_said_and_not_that_all_is_whole(
    given: tuple[object, ...], tmp_path: Path, spoil: object, name: str, sentence: str
) -> None:
    assert callable(spoil)
    spoil(tmp_path / name)
    before = files_in(tmp_path)

    again = batch(*given)

    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert sentence.format(tmp_path) in again.stderr
    assert files_in(tmp_path) == before


def test_the_summary_of_the_run_that_has_ended_is_written(given: tuple[object, ...], tmp_path: Path) -> None:
    at_once = batch(*(str(one).replace("/o/", "/p/") for one in given), "--summary", tmp_path / "s")

    again = batch(*given, "--summary", tmp_path / "t")

    assert (at_once.returncode, again.returncode) == (0, 0), again.stderr
    one, other = (json.loads((tmp_path / name).read_text()) for name in "st")
    assert other["counts"] == one["counts"]
    assert (other["counts"]["clients"], other["counts"]["set_aside"]) == (19, 1)
    assert {name for name in one if one[name] != other[name]} <= {"output", "seconds"}
    assert other["output"]["sha256"] == one["output"]["sha256"]
    assert 0 < other["seconds"] < 60


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, Any]]:
    """The summaries that MLflow gets, which is out of reach at first."""
    found: list[Mapping[str, Any]] = []
    problems = iter(["the registry is gone"])

    def show(_: str, question: Mapping[str, Any], *__: object) -> dict[str, str]:
        if problem := next(problems, None):
            return {"problem": problem}
        found.append(question["summary"])
        return {"run": "its ID"}

    monkeypatch.setattr("batch.tracking.processes.ask", show)
    return found


def test_a_run_that_was_not_shown_in_mlflow_is_shown_once(
    given: tuple[object, ...], shown: list[Mapping[str, Any]]
) -> None:
    tries = [batch(*given, "--log") for _ in range(3)]

    assert [one.returncode for one in tries] == [2, 0, 0]
    assert "is whole, but the run is not shown in MLflow: the registry is gone" in tries[0].stderr
    assert [one["counts"]["clients"] for one in shown] == [19]


def test_a_run_that_was_shown_at_its_end_is_not_shown_again(
    given: tuple[object, ...], shown: list[Mapping[str, Any]]
) -> None:
    anew = [str(one).replace("/o/", "/p/").replace("bad.csv", "p.csv") for one in given]
    batch(*given, "--log")

    tries = [batch(*anew, "--log") for _ in range(2)]

    assert [one.returncode for one in tries] == [0, 0]
    assert [Path(one["output"]["name"]).name for one in shown] == ["p"]


def test_an_interruption_while_mlflow_is_asked_says_that_the_output_is_whole(
    given: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("batch.tracking.processes.ask", hang)

    done = batch(*given, "--log")

    assert done.returncode == 130
    assert f"Interrupted: {tmp_path}/o/ is whole, but the run is not shown in MLflow" in done.stderr
