"""A folder as input: each file is read, passed over by a rule that is told, or a reason to refuse."""

from pathlib import Path

import pytest

from tests import batch_support
from tests.batch_support import TABLE, batch, read

pytest_plugins = ["tests.batch_fixtures"]


def decided(folder: Path, model: Path, *options: object) -> tuple[int, str]:
    done = batch("--input", folder, "--output", folder.parent / "o.csv", "--model", model, *options)
    return done.returncode, done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "in"
    made.mkdir()
    batch_support.write_parquet(TABLE.slice(0, 5), made / "b.parquet")
    return made


def test_what_spark_writes_beside_the_rows_and_hidden_files_are_passed_over(
    folder: Path, bundle_folder: Path
) -> None:
    batch_support.write_parquet(TABLE.slice(5, 5), folder / "a.PQ")
    (folder / "c.parquet").symlink_to("b.parquet")
    for name in ("_SUCCESS", ".b.parquet.crc", "_metadata", ".DS_Store", "_run.json"):
        (folder / name).write_bytes(b"no rows")
    (folder / ".git").mkdir()

    assert decided(folder, bundle_folder)[0] == 0
    numbers = [int(row["SK_ID_CURR"]) - 100_001 for row in read(folder.parent / "o.csv")]
    assert numbers == [5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.parq", "a.txt", "a.parquet.part", "a", "a.parquet.crc"])
def test_a_file_that_would_not_be_read_is_named(folder: Path, bundle_folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"rows, perhaps")

    assert decided(folder, bundle_folder) == (
        2,
        f"Refused: {folder} holds {name}, which would not be read: take that away, or name the files by a "
        f"pattern such as '{folder}/*.parquet'\n",
    )


def test_a_link_that_leads_nowhere_and_a_folder_are_named_and_counted(
    folder: Path, bundle_folder: Path
) -> None:
    (folder / "a.parquet").symlink_to("absent")
    (folder / "2025").mkdir()
    (folder / "2024").mkdir()

    code, said = decided(folder, bundle_folder, "--input-format", "parquet")

    assert (code, f"{folder} holds 2024 and 2 more, which would not be read" in said) == (2, True)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("_delta_log", "Delta Lake keeps rows there that are deleted"),
        (".hoodie", "Hudi keeps rows there that are deleted"),
        ("_temporary", "Spark still writes there, or its job has failed"),
    ],
)
def test_a_folder_whose_files_are_not_the_rows_is_refused(
    folder: Path, bundle_folder: Path, name: str, why: str
) -> None:
    (folder / name).mkdir()

    code, said = decided(folder, bundle_folder)

    assert (code, f"{folder} holds {name}: {why}" in said) == (2, True)


def test_a_folder_that_is_divided_by_a_column_is_refused_and_a_pattern_reads_it(
    folder: Path, bundle_folder: Path
) -> None:
    for year in ("year=2024", "year=2025"):
        (folder / year).mkdir()
        batch_support.write_parquet(TABLE.slice(0, 5), folder / year / "a.parquet")

    code, said = decided(folder, bundle_folder)

    assert (code, said.count("\n")) == (2, 1)
    assert f"{folder} is divided into folders such as year=2024, whose names hold a column" in said
    done = batch(
        *("--input", f"{folder}/**/*.parquet", "--output", folder.parent / "o.csv", "--model", bundle_folder)
    )
    assert (done.returncode, len(read(folder.parent / "o.csv"))) == (0, 15), done.stderr
