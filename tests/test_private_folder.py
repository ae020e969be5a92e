"""No start leaves a folder among the temporary files for good, and none takes one that is in use."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from api import private_folder
from tests.servers import ROOT

# The process says where its folder is, and is killed.
KILLED = """
import os, signal
from api import private_folder
folder = private_folder.make()
private_folder.write(folder / "tokens", b"secret")
print(folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def run(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_a_killed_process_has_left_is_removed_at_the_next_start(temporary: Path) -> None:
    left = Path(run(["-c", KILLED], TMPDIR=str(temporary)).stdout.strip())
    assert (left / "tokens").exists()

    made = private_folder.make()

    assert list(temporary.iterdir()) == [made]
    private_folder.remove(made)


@pytest.mark.parametrize("was_cleaned_away", [False, True])
def test_a_folder_in_use_outlives_another_start(temporary: Path, was_cleaned_away: bool) -> None:
    used = private_folder.make()
    if was_cleaned_away:
        used.rmdir()
        private_folder.make_again(used)

    run(["-c", KILLED], TMPDIR=str(temporary))

    assert used.is_dir()
    private_folder.remove(used)


def test_a_folder_of_another_name_is_none_of_ours(temporary: Path) -> None:
    checkout = temporary / "scoring-client-main"
    checkout.mkdir()

    private_folder.remove(private_folder.make())

    assert list(temporary.iterdir()) == [checkout]


@pytest.mark.parametrize(
    ("variable", "value"), [("SHADOW_SHARE", "2"), ("RELOAD_SECONDS", "often"), ("MODEL_CACHE", "open")]
)
def test_a_start_that_is_refused_leaves_no_folder(
    temporary: Path, tmp_path: Path, variable: str, value: str
) -> None:
    exposed = tmp_path / "open"
    exposed.mkdir()
    exposed.chmod(0o777)
    environment = {variable: str(exposed) if value == "open" else value}

    ended = run(["api/app.py", "--port", "0"], TMPDIR=str(temporary), **environment)

    assert ended.returncode == (1 if value == "open" else 2)
    assert list(temporary.iterdir()) == []
