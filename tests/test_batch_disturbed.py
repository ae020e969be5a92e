"""What happens to a run from outside: the true reason is told, in one sentence, with exit code 2."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from batch.inputs import Inputs
from tests import batch_support
from tests.batch_support import TABLE, batch, files_in
from tests.servers import ROOT

pytest_plugins = ["tests.batch_fixtures"]


def test_a_file_that_is_cut_while_it_is_read_is_called_changed_and_not_damaged(
    bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "in.parquet"
    batch_support.write_parquet(TABLE, file)
    chunks = Inputs.chunks

    def cut(inputs: Inputs, skipped: int) -> Any:
        os.truncate(file, 4_000)
        return chunks(inputs, skipped)

    monkeypatch.setattr(Inputs, "chunks", cut)

    done = batch("--input", file, "--output", tmp_path / "o.csv", "--model", bundle_folder)

    assert (done.returncode, done.stderr) == (2, f"Refused: {file} was changed while it was read\n")
    assert files_in(tmp_path) == ["in.parquet"]


def test_where_no_folder_takes_temporary_files_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    (tmp_path / "in.csv").write_text("a")

    done = batch("--input", tmp_path / "in.csv", "--output", tmp_path / "o.csv", "--model", "a.pkl")

    assert done.returncode == 2
    assert done.stderr == "Refused: no folder takes temporary files: set TMPDIR to one that does\n"


def test_too_few_addresses_for_java_are_told_of_spark_and_not_of_threads(tmp_path: Path) -> None:
    asked = batch_support.command("--input", "in.parquet", "--output", f"{tmp_path}/o/", "--engine", "spark")

    done = subprocess.run(
        ["sh", "-c", 'ulimit -v 3145728; exec "$@"', "sh", *asked],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (
        2,
        "the memory is not enough for this command: --engine spark needs 4,096 MiB of addresses, and the "
        "limit (ulimit -v) is 3,072 MiB\n",
    )


INTERRUPTED_AT_ITS_END = """
import os, signal
from mlflow_model import command
command.begin()
change = command._let_ctrl_c
def late(act):
    if act is command._end_at_once:
        os.kill(os.getpid(), signal.SIGINT)
    change(act)
command._let_ctrl_c = late
command.run(lambda: 130)
"""


def test_a_command_that_is_interrupted_once_more_at_its_end_ends_quietly() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AT_ITS_END], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (130, "")
