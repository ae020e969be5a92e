"""Standard error that takes nothing: what is said is lost, and the work goes on."""

import subprocess
from pathlib import Path

import pytest

from tests import batch_support
from tests.batch_support import TABLE, read
from tests.servers import ROOT

pytest_plugins = ["tests.batch_fixtures"]


@pytest.mark.parametrize(
    ("way", "name", "code"),
    [("<&- 2>&-", "in.csv", 0), ("2>/dev/full", "absent.csv", 2), ("2>&1 | :", "in.csv", 0)],
)
def test_the_work_goes_on_and_its_exit_code_is_its_own(
    bundle_folder: Path, tmp_path: Path, way: str, name: str, code: int
) -> None:
    batch_support.write_csv(TABLE.slice(0, 20), tmp_path / "in.csv")
    asked = batch_support.command("--input", tmp_path / name, "--output", tmp_path / "o.csv")
    line = " ".join([*asked, "--model", str(bundle_folder)])

    subprocess.run(
        ["sh", "-c", f"{{ {line}; echo $? > {tmp_path}/code; }} {way}"], cwd=ROOT, check=False, timeout=120
    )

    assert (tmp_path / "code").read_text() == f"{code}\n"
    assert code == 2 or len(read(tmp_path / "o.csv")) == 20
