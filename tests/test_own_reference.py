"""Who has tables of their own makes a reference portfolio of them, and the gate compares on it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from benchmarks import gate as benchmarked
from promotion import comparison
from quality.portfolio import BadReference, Portfolio
from tests.command_line import register_py
from tests.test_features_from_tables import FEATURES, features_of, write_portfolio
from tests.test_features_from_tables import portfolio as raw_tables
from training import reference


def made(folder: Path, *arguments: str) -> int:
    return reference.main(
        ["--data-dir", str(folder), "--out", str(folder / "own" / "ref.parquet"), *arguments]
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_portfolio(tmp_path_factory.mktemp("tables"), raw_tables(1_500))


@pytest.fixture(scope="module")
def own(folder: Path) -> Path:
    assert made(folder) == 0
    return folder / "own" / "ref.parquet"


@pytest.mark.slow
def test_raw_tables_of_ones_own_become_a_reference_that_the_gate_compares_on(
    candidates: Path, own: Path
) -> None:
    shown = register_py("promote", "2", "--reference", str(own), "--max-left-out", "1", "--dry-run")

    assert (
        "(made of raw tables by python -m training.reference --data-dir DIR), observed outcomes (TARGET)"
        in shown.stdout
    )
    assert "equal opportunity gap by sex" in shown.stdout


def test_a_reference_has_the_features_of_each_client_with_an_outcome_and_no_identifier(
    folder: Path, own: Path
) -> None:
    expected = features_of(folder).dropna(subset="TARGET")

    found = pd.read_parquet(own)

    assert list(found) == ["CODE_GENDER", *FEATURES, "TARGET"]
    pd.testing.assert_frame_equal(found[list(FEATURES)], expected[list(FEATURES)].reset_index(drop=True))
    assert found["TARGET"].tolist() == expected["TARGET"].tolist()


@pytest.mark.slow
def test_a_reference_of_a_drawn_portfolio_keeps_its_true_probabilities(folder: Path, tmp_path: Path) -> None:
    tables = write_portfolio(tmp_path, raw_tables(300))
    keys = np.arange(300, 0, -1)
    truth = {"SK_ID_CURR": keys, "TRUE_PROBABILITY": keys / 1_000}
    parquet.write_table(pa.table(truth), tables / "true_probabilities.parquet")

    made(tables)

    kept = Portfolio.read(tables / "own" / "ref.parquet")
    assert kept.outcome is not None
    assert kept.outcome.tolist() == [key / 1_000 for key in sorted(features_of(tables).index)]


REFUSALS: dict[str, tuple[list[str], str]] = {
    "no file to write": (["--data-dir", "x"], "--data-dir needs --out FILE"),
    "a seed": (["--data-dir", "x", "--out", "y", "--seed", "1"], "--seed is that of drawn clients"),
    "both kinds": (["--data-dir", "x", "--clients", "9"], "--clients: not allowed with argument --data-dir"),
    "CSV": (["--data-dir", "x", "--out", "ref.csv"], "must not end with .csv: what is written is Parquet"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_options_that_do_not_go_together_are_refused(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    given, sentence = REFUSALS[case]

    with pytest.raises(SystemExit, match="2"):
        reference.main(given)

    assert sentence in capsys.readouterr().err


def test_bad_tables_are_refused_in_one_sentence_and_leave_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = made(tmp_path)

    assert (status, list(tmp_path.iterdir())) == (2, [])
    assert capsys.readouterr().err.startswith("Refused: application_train.csv: the data folder holds neither")


def test_a_file_that_cannot_be_written_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = reference.main(["--data-dir", str(folder), "--out", str(tmp_path)])

    assert status == 2
    assert capsys.readouterr().err == f"Refused: {tmp_path} cannot be written to: Is a directory\n"


def test_raw_tables_are_no_reference_and_the_refusal_names_the_command_that_makes_one(
    candidates: Path, folder: Path
) -> None:
    refused = register_py("promote", "2", "--reference", str(folder / "application_train.csv"))

    assert refused.returncode == 2
    assert "the reference portfolio lacks CREDIT_TERM, DEBT_CREDIT_RATIO, " in refused.stderr
    assert refused.stderr.endswith(
        "-m training.reference --data-dir DIR --out FILE makes one of your raw tables\n"
    )


def test_a_reference_without_a_feature_of_ones_own_is_not_sent_to_the_raw_tables() -> None:
    one_client = benchmarked.answers(np.array([0.1]))
    without = Portfolio({"AMT_CREDIT": np.array([1.0])}, "", "made here", {})

    with pytest.raises(BadReference, match="lacks CLIENT; --reference FILE takes one that has a column for"):
        comparison.compare(one_client, one_client, without)
