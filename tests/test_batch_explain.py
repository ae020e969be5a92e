"""`python -m batch score --explain N`: the reasons of POST /explain as columns, the weightiest first."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlflow_model.bundle.bundles import Bundle
from tests import batch_support
from tests.batch_support import TABLE, batch, read, version_with
from tests.conftest import FEATURES
from tests.servers import JSON, ROOT, FlaskDoor

pytest_plugins = ["tests.api_support", "tests.batch_fixtures"]

CLIENTS = TABLE.slice(0, 40)
BEFORE_EXPLANATIONS = ROOT / "tests" / "versions" / "before_the_rooms" / "artifacts" / "bundle"


@pytest.fixture(scope="module")
def told(flask_door: FlaskDoor) -> list[list[dict[str, Any]]]:
    """All reasons that POST /explain tells of each client, the weightiest first."""
    found = []
    for row in CLIENTS.to_pylist():
        body = json.dumps({name: row[name] for name in FEATURES}).encode()
        reasons = flask_door.send("POST", "/explain", body, JSON).content["reasons"]
        found.append(sorted([*reasons["for"], *reasons["against"]], key=lambda one: -abs(one["points"])))
    assert max(map(len, found)) > 4
    return found


@pytest.mark.parametrize(("name", "count"), [("o.parquet", 4), ("o.csv", 2), ("o.arrow", 1)])
def test_the_reasons_are_those_of_the_api_to_the_last_bit(
    name: str, count: int, bundle_folder: Path, told: list[list[dict[str, Any]]], tmp_path: Path
) -> None:
    pq.write_table(CLIENTS, tmp_path / "in.parquet")

    done = batch(
        *("--input", tmp_path / "in.parquet", "--output", tmp_path / name),
        *("--model", bundle_folder, "--explain", count),
    )

    assert done.returncode == 0, done.stderr
    for row, reasons in zip(_rows(tmp_path / name), told, strict=True):
        found = [
            row[f"reason_{n}{part}"] for n in range(1, count + 1) for part in ("", "_feature", "_points")
        ]
        wanted = [one[key] for one in reasons[:count] for key in ("sentence", "feature", "points")]
        assert found == wanted + [None] * (3 * count - len(wanted))
        assert f"reason_{count + 1}" not in row


def _rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix != ".csv":
        return read(path)
    lines = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
    return [
        {
            name: float(cell) if cell and name.endswith("_points") else cell or None
            for name, cell in line.items()
        }
        for line in lines
    ]


ONE_REASON = """
class Scorer(Scorer):
    def contributions(self, row):
        *parts, base = super().contributions(row)
        return [math.fsum(parts), *[0.0 for _ in parts[1:]], base]
"""


def test_who_has_fewer_reasons_has_nothing_in_the_columns_of_the_others(
    bundle: Bundle, tmp_path: Path
) -> None:
    version = version_with(ONE_REASON, bundle, tmp_path / "version")
    pq.write_table(CLIENTS, tmp_path / "in.parquet")

    done = batch(
        *("--input", tmp_path / "in.parquet", "--output", tmp_path / "o.parquet"),
        *("--model", version, "--explain", 2),
    )

    assert done.returncode == 0, done.stderr
    assert {row["reason_1_feature"] for row in read(tmp_path / "o.parquet")} == {FEATURES[0]}
    second = pq.read_table(tmp_path / "o.parquet").select(["reason_2", "reason_2_feature", "reason_2_points"])
    assert [column.null_count for column in second.columns] == [len(CLIENTS)] * 3
    assert [str(column.type) for column in second.columns] == ["string", "string", "double"]


@pytest.mark.parametrize("text", ["0", "5", "two", "", "-1"])
def test_so_many_reasons_are_refused(text: str, bundle_folder: Path, tmp_path: Path) -> None:
    done = batch(
        "--input", "in.csv", "--output", tmp_path / "o.csv", "--model", bundle_folder, "--explain", text
    )

    assert (done.returncode, "argument --explain" in done.stderr) == (2, True)


def test_a_version_that_cannot_explain_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    pq.write_table(CLIENTS, tmp_path / "in.parquet")

    done = batch(
        *("--input", tmp_path / "in.parquet", "--output", tmp_path / "o.parquet"),
        *("--model", BEFORE_EXPLANATIONS, "--explain", 1),
    )

    assert (done.returncode, batch_support.files_in(tmp_path)) == (2, ["in.parquet"])
    assert "bundle cannot explain its decisions: leave out --explain" in done.stderr


HALVED = """
class Scorer(Scorer):
    def probabilities(self, matrix):
        return super().probabilities(matrix) / 2
"""


def test_reasons_that_do_not_sum_to_the_probability_name_the_client(bundle: Bundle, tmp_path: Path) -> None:
    """Of a version whose own rule changes what the trees say."""
    version = version_with(HALVED, bundle, tmp_path / "halved")
    pq.write_table(CLIENTS, tmp_path / "in.parquet")

    done = batch(
        *("--input", tmp_path / "in.parquet", "--output", tmp_path / "o.parquet"),
        *("--model", version, "--explain", 1),
    )

    assert (done.returncode, (tmp_path / "o.parquet").exists()) == (2, False)
    assert "in.parquet, row 1: the reasons do not sum to the version's probability" in done.stderr


def test_a_column_that_is_called_as_a_reason_is_refused(bundle_folder: Path, tmp_path: Path) -> None:
    taken = CLIENTS.append_column("reason_1", pa.array(["x"] * len(CLIENTS)))
    pq.write_table(taken, tmp_path / "in.parquet")
    places = (
        *("--input", tmp_path / "in.parquet", "--output", tmp_path / "o.parquet"),
        *("--model", bundle_folder),
    )

    done, without = batch(*places, "--explain", 1), batch(*places)

    assert (done.returncode, without.returncode) == (2, 0)
    assert "column reason_1 of the input is one that the decision adds" in done.stderr
