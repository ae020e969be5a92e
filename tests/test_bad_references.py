"""A reference, limit or reason that cannot be used: one sentence, and nothing is promoted."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

import register
from mlflow_model.registry import moves
from tests.command_line import register_py
from tests.conftest import copied_registry
from tests.promotion_support import champion, portfolio

pytest_plugins = ["tests.promotion_fixtures"]
pytestmark = pytest.mark.usefixtures("few_resamplings")


def _table(**more: Any) -> pa.Table:
    return pa.table(portfolio(4) | more)


def _csv(*lines: bytes) -> Callable[[Path], object]:
    return lambda file: file.with_suffix(".csv").write_bytes(b"\n".join(lines) + b"\n")


def _sparse(file: Path, size: int) -> None:
    with file.open("wb") as content:
        content.truncate(size)


UNREADABLE, NO_OUTCOME = "cannot be read as a portfolio", "must be a number from 0 to 1"

UNEVEN = "row 2 of bad.csv has not as many cells as its header"

NO_NUMBER = "row 1 of the reference portfolio's column TARGET holds no number"

BAD_REFERENCES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "absent": ("parquet", lambda _: None, "is not there"),
    "no table": ("parquet", lambda file: file.write_bytes(b"PAR1 nothing"), UNREADABLE),
    "no file": ("parquet", lambda file: file.mkdir(), UNREADABLE),
    "a pipe": ("parquet", lambda file: os.mkfifo(file), UNREADABLE),
    "a device": ("parquet", lambda file: file.symlink_to("/dev/zero"), UNREADABLE),
    "endless": ("parquet", lambda file: _sparse(file, 2**35), "is larger than 256 MiB"),
    "empty": ("parquet", lambda file: parquet.write_table(_table()[:0], file), "has no clients"),
    "other columns": (
        "parquet",
        lambda file: parquet.write_table(pa.table({"x": [0.0]}), file),
        "lacks AMT_ANNUITY",
    ),
    "a column twice": (
        "parquet",
        lambda file: parquet.write_table(_table().append_column("DAYS_BIRTH", pa.nulls(4)), file),
        "has more than one column DAYS_BIRTH",
    ),
    "an integer that no double equals": (
        "parquet",
        lambda file: parquet.write_table(_table(TARGET=[2**53 + 1, 0, 0, 0]), file),
        "row 1 of the reference portfolio's column TARGET holds no number",
    ),
    "an outcome missing": (
        "parquet",
        lambda file: parquet.write_table(_table(TARGET=[0, 1, None, 0]), file),
        f"TARGET {NO_OUTCOME} for every client of the reference portfolio; for 1 of 4 it is not",
    ),
    "a probability that is none": (
        "parquet",
        lambda file: parquet.write_table(_table(TRUE_PROBABILITY=[0.5, float("inf"), -0.1, 1.1]), file),
        f"TRUE_PROBABILITY {NO_OUTCOME} for every client of the reference portfolio; for 3 of 4 it is not",
    ),
    "empty CSV": ("csv", lambda file: file.write_bytes(b""), UNREADABLE),
    "a CSV's column twice": (
        "csv",
        _csv(b"AMT_CREDIT,AMT_CREDIT", b"1,2"),
        "has more than one column AMT_CREDIT",
    ),
    "a CSV's header in Latin-1": ("csv", _csv("AMT_CREDIT,âge".encode("latin-1"), b"1,2"), UNREADABLE),
    "a CSV's row too long": ("csv", _csv(b"AMT_CREDIT,TARGET", b"1,0", b"1,2,3"), UNEVEN),
    "a CSV's row too short": ("csv", _csv(b"AMT_CREDIT,TARGET", b"1,0", b"2"), UNEVEN),
    "an empty row in a CSV": ("csv", _csv(b"AMT_CREDIT,TARGET", b"1,0", b"", b"2,0"), UNEVEN),
    "a CSV's header alone": ("csv", _csv(b"AMT_CREDIT,TARGET"), "bad.csv has no clients"),
    "an outcome in words": ("csv", _csv(b"AMT_CREDIT,TARGET", b"1,True", b"2,False"), NO_NUMBER),
    "an outcome with a blank": ("csv", _csv(b"AMT_CREDIT,TARGET", b"1, 0", b"2, 1"), NO_NUMBER),
    "an outcome as texts": (
        "parquet",
        lambda file: parquet.write_table(_table(TARGET=["0", "1", "0", "0"]), file),
        NO_NUMBER,
    ),
    "a CSV of outcomes alone": (
        "csv",
        _csv(b"TARGET,TRUE_PROBABILITY", b"1,0.5"),
        "has no features, only TARGET, TRUE_PROBABILITY",
    ),
    "a CSV with bars": ("csv", _csv(b"AMT_CREDIT|TARGET", b"1|0"), "has no clients"),
    "thousands with points": (
        "csv",
        _csv(b"AMT_CREDIT;TARGET", b"200.000,5;0"),
        "has no features, only TARGET",
    ),
}


# What is no file, no table, and no outcome; the others in `make proofs`: each runs the command.
DAILY = ("absent", "a device", "endless", "other columns", "an outcome missing", "a CSV's row too long")


@pytest.fixture(scope="module")
def unchanged(three_versions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry for the tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("unchanged")
    copied_registry(three_versions, folder)
    return folder


@pytest.fixture
def refusing(unchanged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{unchanged / 'mlflow.db'}")


@pytest.mark.parametrize(
    "bad", [pytest.param(name, marks=[] if name in DAILY else [pytest.mark.slow]) for name in BAD_REFERENCES]
)
def test_a_bad_reference_is_one_sentence_and_promotes_nothing(
    refusing: None, tmp_path: Path, bad: str
) -> None:
    suffix, make, sentence = BAD_REFERENCES[bad]
    file = tmp_path / f"bad.{suffix}"
    make(file)

    refused = register_py("promote", "2", "--max-changed", "1", "--reference", str(file))

    assert (refused.returncode, champion()) == (2, 1)
    assert sentence in refused.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--max-changed", "nan", "a share is a number from 0 to 1, not 'nan'"),
        ("--max-changed", "-0.1", "a share is a number from 0 to 1, not '-0.1'"),
        ("--max-changed", "10", "a share is a number from 0 to 1, not '10'"),
        ("--max-cost-increase", "nan", "a cost is a number of 0 or more, not 'nan'"),
        ("--max-cost-increase", "-1", "a cost is a number of 0 or more, not '-1'"),
        ("--max-cost-increase", "much", "a cost is a number of 0 or more, not 'much'"),
        ("--why", "x" * 1_001, "a reason is plain text of at most 1,000 characters"),
        ("--why", "\udcff", "a reason is plain text of at most 1,000 characters"),
    ],
)
def test_a_limit_or_reason_that_is_none_is_refused_before_anything_is_done(
    refusing: None, capsys: pytest.CaptureFixture[str], option: str, value: str, sentence: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        register.main(["promote", "3", "--force", option, value])

    assert capsys.readouterr().err.splitlines()[-1].endswith(sentence)
    assert champion() == 1


@pytest.mark.slow
def test_a_long_reason_is_kept_on_one_line(candidates: Path) -> None:
    why = "é\n" * 500

    forced = register_py("promote", "3", "--force", "--why", why, "--max-cost-increase", "inf")

    assert (forced.returncode, champion()) == (0, 3)
    assert moves.history()[-1].why == " ".join("é" * 500)
