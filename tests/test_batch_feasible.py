"""What can be told of a run before the model is there is told then: fetching one takes seconds."""

from pathlib import Path

import pytest

from tests.batch_support import batch


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"--input": "nothing.csv"}, "nothing.csv is not there"),
        ({"--input": "*.parquet"}, "*.parquet names no file"),
        ({"--input": "clients.txt"}, "clients.txt has no ending of"),
        ({"--output": "decided.txt"}, "decided.txt has no ending of"),
        ({"--resume": None}, "--resume needs a folder as output"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, dict) else "",
)
def test_what_is_wrong_with_names_is_told_first(
    options: dict[str, str | None], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("clients.csv", "clients.txt"):
        (tmp_path / name).write_text("a")
    given = {"--input": "clients.csv", "--output": "decided.csv", "--model": "no-model", **options}

    done = batch(*(part for pair in given.items() for part in pair if part is not None))

    assert done.returncode == 2
    assert done.stderr.startswith(f"Refused: {sentence}")


def test_raw_tables_that_are_nowhere_are_told_first(tmp_path: Path) -> None:
    nowhere = tmp_path / "raw"

    done = batch("--features-from", nowhere, "--output", tmp_path / "o.parquet", "--model", "no-model")

    assert (done.returncode, done.stderr) == (2, f"Refused: {nowhere} is not a folder\n")
