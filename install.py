"""Installs the project's packages into .venv. `make` runs it, with any Python and the standard library.

Two that run at once install once: the second waits. A marker is written last, so that what was interrupted
is done again.
"""

from __future__ import annotations  # an older Python must get as far as the sentence about it

import fcntl
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from mlflow_model import command, machine

ENVIRONMENT = ROOT / ".venv"
# The requirements of each set, and the marker that says that it is installed.
SETS = {
    "runtime": (ROOT / "requirements.txt", ENVIRONMENT / ".runtime-installed"),
    "development": (ROOT / "requirements-dev.txt", ENVIRONMENT / ".development-installed"),
}
_NOT_DONE = 2
_REQUIREMENT = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*(?:\[[a-z,]+\])?==", re.MULTILINE)
_FOUND = ("Collecting ", "Requirement already satisfied: ")
# What pip says when it can reach no index, whatever it concludes from that.
_UNREACHABLE = re.compile(
    r"Retrying \(|NewConnectionError|NameResolutionError|ProxyError|Network is unreachable"
)


class NotInstalled(Exception):
    """Nothing was marked as installed. The message is a sentence, with what to do."""


def main() -> int:
    machine.require()
    requirements, marker = SETS[sys.argv[1]]
    try:
        with (ROOT / ".venv.lock").open("w") as lock:
            _wait_for(lock.fileno())
            if not _is_installed(requirements, marker):
                _install(requirements, marker)
    except NotInstalled as problem:
        sys.stderr.write(f"{problem}\n")
        return _NOT_DONE
    except OSError as error:
        sys.stderr.write(f"{ROOT} cannot be written to ({error.strerror}): packages go to its folder .venv\n")
        return _NOT_DONE
    return 0


def _wait_for(lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.stderr.write("Another make is installing into .venv: waiting for it\n")
        fcntl.flock(lock, fcntl.LOCK_EX)


def _is_installed(requirements: Path, marker: Path) -> bool:
    return marker.exists() and marker.stat().st_mtime >= requirements.stat().st_mtime


def _install(requirements: Path, marker: Path) -> None:
    total = len(_REQUIREMENT.findall(requirements.read_text(encoding="utf-8")))
    sys.stderr.write(f"Installing {total} packages into .venv (a minute or two, once)\n")
    if not (ENVIRONMENT / "bin" / "pip").exists():
        _make_environment()
    _run_pip(requirements, total)
    marker.touch()


def _make_environment() -> None:
    command_line = [sys.executable, "-m", "venv", str(ENVIRONMENT)]
    made = subprocess.run(command_line, capture_output=True, text=True, check=False)  # noqa: S603 - Python's own
    if made.returncode:
        lacks_pip = "ensurepip" in made.stdout + made.stderr
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        raise NotInstalled(
            f"Python's venv is missing: apt-get install {package}"
            if lacks_pip
            else f"no environment can be made in {ENVIRONMENT}: {(made.stderr or made.stdout).strip()}"
        )


def _run_pip(requirements: Path, total: int) -> None:
    """Install, and show how far pip is. Raises NotInstalled."""
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar=off", "--require-hashes"]
    arguments = [str(ENVIRONMENT / "bin" / "python"), "-u", "-m", "pip", "install", *options]
    with tempfile.TemporaryFile("w+") as complaints:
        with subprocess.Popen(  # noqa: S603 - pip, with our own requirements
            [*arguments, "-r", str(requirements)], stdout=subprocess.PIPE, stderr=complaints, text=True
        ) as pip:
            assert pip.stdout is not None  # noqa: S101 - it is a pipe
            found = 0
            for line in pip.stdout:
                found += line.startswith(_FOUND)
                if line.startswith(_FOUND):
                    _show(f"found {min(found, total)} of {total}", is_last=found == total)
                elif line.startswith("Installing collected packages"):
                    _show("unpacking", is_last=True)
        if pip.returncode:
            complaints.seek(0)
            raise NotInstalled(_why(complaints.read()))


def _show(step: str, *, is_last: bool) -> None:
    """One line that changes on a terminal; elsewhere a line for every tenth step, and for the last one."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r  {step}\033[K" + ("\n" if is_last else ""))
    elif is_last or step.split()[1].endswith("0"):
        sys.stderr.write(f"  {step}\n")
    sys.stderr.flush()


def _why(complaints: str) -> str:
    if _UNREACHABLE.search(complaints):
        return "The package index cannot be reached: check the network, then type the command again"
    errors = [line for line in complaints.splitlines() if line.startswith("ERROR")]
    return "\n".join(errors or ["pip failed", *complaints.splitlines()[-5:]])


if __name__ == "__main__":
    command.run(main)
