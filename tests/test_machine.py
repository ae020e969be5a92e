"""What a machine lacks is one sentence and exit code 2, and a command that is broken off ends quietly."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlflow_model.machine import NEWEST, OLDEST
from tests import servers
from tests.command_line import register_py
from tests.servers import ROOT

ENTRIES = {
    "register.py": ["register.py", "list"],
    "api/app.py": ["api/app.py", "--port", "0"],
    "python -m training": ["-m", "training", "--clients", "5000"],
    "python -m training.synthetic": ["-m", "training.synthetic", "--out", "drawn"],
}
OPENMP = "libgomp.so.1 is missing: apt-get install libgomp1 (or your system's package of GNU OpenMP)\n"


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=servers.PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("name", ENTRIES)
def test_without_the_environment_the_way_to_it_is_said(name: str, tmp_path: Path) -> None:
    """`-S` leaves out the packages of the environment, as a Python outside it has none."""
    told = run(sys.executable, "-S", *ENTRIES[name])

    assert (told.returncode, told.stdout) == (2, "")
    (line,) = told.stderr.splitlines()
    assert line.startswith("packages are missing (")
    assert line.endswith("): run make serve, or source .venv/bin/activate")


def hidden(library: Path) -> list[str]:
    """A shell in a mount namespace of its own, where the library is an empty file."""
    return [
        "unshare",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        f'mount --bind /dev/null {library} && exec "$@"',
        "sh",
    ]


def openmp() -> Path | None:
    listed = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=False).stdout
    found = [
        line.split(" => ")[1] for line in listed.splitlines() if line.strip().startswith("libgomp.so.1 ")
    ]
    return Path(found[0]).resolve() if found else None


@pytest.fixture
def without_openmp() -> list[str]:
    library = openmp()
    if library is None or not shutil.which("unshare"):
        pytest.skip("this machine has no libgomp.so.1 that could be hidden, or no unshare")
    command = hidden(library)
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not make a mount namespace")
    return command


@pytest.mark.parametrize("name", [*ENTRIES, "make"])
def test_a_system_without_openmp_is_told_which_package_it_lacks(
    name: str, without_openmp: list[str], tmp_path: Path
) -> None:
    """make says so before it installs anything."""
    command = ["-m", "mlflow_model.machine"] if name == "make" else ENTRIES[name]

    told = run(*without_openmp, sys.executable, *command)

    assert (told.returncode, told.stdout, told.stderr) == (2, "", OPENMP)


def test_the_range_of_pythons_is_that_of_the_environments() -> None:
    oldest, (major, minor) = ".".join(map(str, OLDEST)), NEWEST

    assert f"  - python>={oldest},<{major}.{minor + 1}\n" in (ROOT / "conda.yaml").read_text()
    assert f"Python {oldest} to {major}.{minor}" in (ROOT / "README.md").read_text()


def test_a_reader_that_is_gone_ends_a_command_quietly(registered: Path) -> None:
    command = f'"{sys.executable}" register.py list; echo "code $?" >&2'

    told = run(
        "sh", "-c", f"{{ {command}; }} | true", MLFLOW_TRACKING_URI=f"sqlite:///{registered}/mlflow.db"
    )

    assert told.stderr == "code 141\n"


def test_a_help_that_nobody_reads_and_a_closed_output_end_quietly(registered: Path) -> None:
    registry = f"sqlite:///{registered}/mlflow.db"
    python = f'env -u PYTHONUNBUFFERED "{sys.executable}" register.py'

    unread = run(
        "sh", "-c", f'{{ {python} --help; echo "code $?" >&2; }} | true', MLFLOW_TRACKING_URI=registry
    )
    closed = run("sh", "-c", f"{python} rollback >&-", MLFLOW_TRACKING_URI=registry)

    assert unread.stderr in ("code 141\n", "code 0\n")  # it may have been read before the reader ended
    assert "Traceback" not in closed.stderr
    assert closed.returncode == 2


@pytest.mark.parametrize("seconds", [0.0, 0.2, 1.0, 3.0])
@pytest.mark.parametrize("name", ["register.py", "python -m training"])
def test_ctrl_c_ends_a_command_quietly(name: str, seconds: float, store: Path, tmp_path: Path) -> None:
    arguments = {
        "register.py": ["register.py"],
        "python -m training": [*ENTRIES[name], "--out", str(tmp_path)],
    }
    with subprocess.Popen(
        [sys.executable, *arguments[name]],
        cwd=ROOT,
        env=os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{store}/mlflow.db"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as child:
        try:
            time.sleep(0.15 + seconds)  # Python itself has started
            child.send_signal(signal.SIGINT)
            _, said = child.communicate(timeout=servers.PATIENCE)
        finally:
            child.kill()

    assert child.returncode in (130, -signal.SIGINT, 0)  # a shell shows the second as the first
    assert b"Traceback" not in said


def read_only(folder: Path) -> list[str]:
    """A shell in a mount namespace of its own, where the folder is read-only, for root too."""
    script = f'mount --bind {folder} {folder} && mount -o remount,bind,ro {folder} && exec "$@"'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    if not shutil.which("unshare") or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("this user may not make a mount namespace")
    return command


@pytest.mark.parametrize("has_registry", [True, False])
def test_a_registry_that_is_read_only_is_said_to_be(has_registry: bool, store: Path) -> None:
    if not has_registry:
        (store / "mlflow.db").unlink()

    told = run(
        *read_only(store), sys.executable, "register.py", MLFLOW_TRACKING_URI=f"sqlite:///{store}/mlflow.db"
    )

    assert told.returncode == 2
    assert "est en lecture seule ; vérifiez ses droits" in told.stderr.splitlines()[-1]


def test_a_checkout_that_is_read_only_is_said_to_be(tmp_path: Path) -> None:
    for name in ("install.py", "requirements.txt", "mlflow_model"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)

    told = run(*read_only(tmp_path), sys.executable, str(tmp_path / "install.py"), "runtime")

    assert told.returncode == 2
    assert told.stderr == (
        f"{tmp_path} cannot be written to (Read-only file system): packages go to its folder .venv\n"
    )


def test_a_number_of_clients_that_is_none_is_refused_at_once() -> None:
    started = time.monotonic()

    told = run("make", "train", "CLIENTS=abc")

    assert told.stderr.splitlines()[0] == "CLIENTS=abc is not a number of clients"
    assert time.monotonic() - started < 2


def test_without_git_nothing_is_said_of_it(store: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()

    told = run(
        *(sys.executable, "register.py"),
        MLFLOW_TRACKING_URI=f"sqlite:///{store}/mlflow.db",
        PATH=str(tmp_path / "bin"),
    )

    assert told.returncode == 0
    assert "git" not in told.stderr


def test_a_validity_without_a_signature_is_told(registered: Path) -> None:
    told = run(sys.executable, "register.py", "--valid-days", "3")

    assert told.returncode == 2
    assert told.stderr.endswith("--valid-days is that of a signature: --sign KEY.pem makes one\n")


def test_a_reference_that_is_absent_is_told(registered: Path) -> None:
    register_py("--margin", "0.03")

    told = register_py("promote", "2", "--reference", "absent.csv")

    assert told.returncode == 2
    assert told.stderr.splitlines()[-1] == "absent.csv is not there: --reference names no file"
