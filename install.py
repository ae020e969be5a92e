"""Install what a hashed lock names into .venv: `python3 install.py requirements.txt`, which `make` runs.

With `--this-python` after the lock, a .venv of another Python is refused; `make PYTHON=…` says so.
One installation goes on at a time, and a note in .venv, written last, says which lock is installed whole.
The standard library alone, and old syntax: a Python that is too old must come as far as to be told so.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from mlflow_model import command, machine

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
REPORT_SECONDS = 5.0

_OF_AN_EMPTY_ENVIRONMENT = {"pip", "setuptools"}
_CONNECTION_FAILED = "Retrying (Retry("
_REASONS = {
    _CONNECTION_FAILED: "no package index answers: go online, and try again",
    **{os.strerror(number): f"{sentence}, and try again" for number, sentence in machine.NO_ROOM.items()},
    "DO NOT MATCH THE HASHES": "a package is not the one that the lock names: do not trust the index",
}


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    lock, needs_this_python = ROOT / sys.argv[1], "--this-python" in sys.argv[2:]
    if needs_this_python:
        _require_this_python()
    if not _is_installed(lock):
        _require_writable()
        with _alone() as held:
            if needs_this_python:
                _require_this_python()  # of the .venv that this one waited for
            if not _is_installed(lock):  # by whom this one waited for
                with contextlib.suppress(FileNotFoundError):
                    _note(lock).unlink()  # if this process is killed, the next one begins again
                _make_environment(held)
                _fetch_and_unpack(lock, held)
                _make_importable()
                _note(lock).write_text(_digest(lock))
    with contextlib.suppress(OSError):  # read-only, which is no harm
        _note(lock).touch()


def _note(lock: Path) -> Path:
    """The file whose time tells `make`, and whose content tells this program, that the lock is installed."""
    return VENV / f".{lock.stem}-installed"


def _digest(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def _is_installed(lock: Path) -> bool:
    try:
        return _note(lock).read_text() == _digest(lock) and PYTHON.exists()
    except OSError:
        return False


def _require_this_python() -> None:
    there, asked = _python_there(), sys.version_info[:2]
    if there not in (None, asked):
        machine.refuse(
            f".venv has Python {machine.written(there)}, not the {machine.written(asked)} of PYTHON: "
            "remove it (rm -r .venv) to change"
        )


def _require_writable() -> None:
    folder = VENV if VENV.exists() else ROOT
    if not os.access(folder, os.W_OK):
        machine.refuse(f"{folder} cannot be written to: copy the project to a folder of your own")


@contextlib.contextmanager
def _alone() -> "Iterator[int]":
    """Hold .venv. The kernel lets go of it when this process and its children have ended, even if killed."""
    VENV.mkdir(exist_ok=True)
    folder = os.open(str(VENV), os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("Another make is installing into .venv: waiting for it")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(folder)


# ---- The environment


def _make_environment(held: int) -> None:
    """Make .venv, or finish one that was left without pip. One of another Python is refused."""
    there = _python_there()
    if there is not None and _has_pip():
        if not machine.OLDEST <= there <= machine.NEWEST:
            machine.refuse(f"{machine.wanted_python()}, and .venv has another: remove it (rm -r .venv)")
        return
    _say(f"Making .venv with Python {sys.version.split()[0]}")
    anew = [] if there == sys.version_info[:2] else ["--clear"]
    command = [sys.executable, "-m", "venv", *anew, str(VENV)]
    made = subprocess.run(command, capture_output=True, text=True, pass_fds=[held], check=False)  # noqa: S603
    if made.returncode:
        said = (made.stderr + made.stdout).strip().splitlines() or ["it ended without a word"]
        machine.refuse(f".venv cannot be made: {said[-1]}")


def _python_there() -> "tuple[int, ...] | None":
    """The version of .venv's Python, as (3, 11). None if there is none that runs."""
    try:
        said = _asked_there("import sys; print(*sys.version_info[:2])").stdout
    except OSError:
        return None
    return tuple(map(int, said.split())) or None


def _has_pip() -> bool:
    return _asked_there("import pip").returncode == 0


def _asked_there(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([str(PYTHON), "-c", code], capture_output=True, text=True, check=False)  # noqa: S603


def _make_importable() -> None:
    """Let `python -m training` work in every folder, and not in the project's alone."""
    (_site_packages() / "scoring-client.pth").write_text(f"{ROOT}\n")


def _site_packages() -> Path:
    return next(VENV.glob("lib/python3.*/site-packages"))


# ---- The packages


def _fetch_and_unpack(lock: Path, held: int) -> None:
    """Run pip and report every few seconds, on a terminal or not: pip itself is silent for a minute."""
    wanted = len(re.findall(r"^[^\s#-]", lock.read_text(), re.MULTILINE))
    _say(f"Installing {wanted} packages of {lock.name} into .venv (a minute or two, once)")
    began, said = time.monotonic(), []  # type: float, list[str]
    with _pip(lock, held) as pip:
        reader = threading.Thread(target=_read, args=[pip.stdout, said], daemon=True)
        reader.start()
        while reader.is_alive():
            reader.join(REPORT_SECONDS)
            if reader.is_alive():
                _say(_progress(said, wanted))
    if pip.returncode:
        log = VENV / "pip.log"
        log.write_text("".join(said))
        machine.refuse(f"{lock.name} is not installed: {_reason(said)} (pip's own words: {log})")
    _say(f"  installed after {time.monotonic() - began:.0f} s")


def _pip(lock: Path, held: int) -> "subprocess.Popen[str]":
    quiet = ["--no-color", "--no-input", "--progress-bar", "off", "--disable-pip-version-check"]
    return subprocess.Popen(  # noqa: S603 - the environment's own pip
        [str(PYTHON), "-m", "pip", "install", *quiet, "--retries", "2", "--require-hashes", "-r", str(lock)],
        cwd=str(ROOT),
        env={**os.environ, "PYTHONUNBUFFERED": "1", "LC_ALL": "C.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        pass_fds=[held],
    )


def _read(lines: "Iterable[str]", said: "list[str]") -> None:
    for line in lines:
        said.append(line)


def _progress(said: "list[str]", wanted: int) -> str:
    if any(line.startswith("Installing collected") for line in said):
        unpacked = {one.name.split("-")[0] for one in _site_packages().glob("*.dist-info")}
        return f"  unpacking: {len(unpacked - _OF_AN_EMPTY_ENVIRONMENT)} packages are there"
    fetched = sum(line.startswith(("Collecting", "Requirement already")) for line in said)
    return f"  fetching: {fetched} of {wanted}"


def _reason(said: "list[str]") -> str:
    whole = "".join(said)
    last = max(_REASONS, key=whole.rfind)  # pip may have come over what it complained of before
    errors = [line.strip() for line in said if line.startswith("ERROR:")]
    return _REASONS[last] if last in whole else (errors or ["pip ended without a word"])[-1]


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    machine.require_installable()
    command.begin()
    command.run(main)
