"""`make serve` installs once, whole or not at all, and says what it does and what is in its way."""

import base64
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests import namespaces, servers
from tests.servers import ROOT

BARE = str(Path(sys.base_prefix) / "bin" / "python3")
NEEDED = ("install.py", *(f"mlflow_model/{name}.py" for name in ("__init__", "command", "machine")))
WHEEL = "tiny-1.0-py3-none-any.whl"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose lock names one package, and a folder with that package."""
    folder = tmp_path / "project"
    for name in NEEDED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    wheel = _wheel(tmp_path / "wheels")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (folder / "requirements.txt").write_text(f"tiny==1.0 \\\n    --hash=sha256:{digest}\n")
    return folder


def _wheel(folder: Path) -> Path:
    """A wheel of one empty module."""
    folder.mkdir()
    inside = {
        "tiny.py": b"",
        "tiny-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "tiny-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={_for_record(content)},{len(content)}\n" for name, content in inside.items()
    )
    inside["tiny-1.0.dist-info/RECORD"] = record.encode() + b"tiny-1.0.dist-info/RECORD,,\n"
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        for name, content in inside.items():
            archive.writestr(name, content)
    return folder / WHEEL


def _for_record(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def environment(project: Path, **more: str) -> dict[str, str]:
    """pip looks into the folder with the package, and nowhere else unless `more` says so."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    local = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_FIND_LINKS": str(project.parent / "wheels"),
        "PIP_NO_INDEX": "1",
    }
    return {**kept, **local, **more}


def install(project: Path, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BARE, "install.py", "requirements.txt"],
        cwd=project,
        env=variables,
        capture_output=True,
        text=True,
        timeout=servers.PATIENCE,
        check=False,
    )


def is_whole(project: Path) -> bool:
    return (project / ".venv" / ".requirements-installed").exists()


@pytest.mark.slow
def test_what_a_lock_names_is_installed_once_for_each_lock_and_the_project_is_importable_from_anywhere(
    project: Path, tmp_path: Path
) -> None:
    first, second = install(project, environment(project)), install(project, environment(project))

    look = [str(project / ".venv/bin/python"), "-c", "import tiny, mlflow_model.machine"]
    assert subprocess.run(look, cwd=tmp_path, check=False).returncode == 0
    assert first.returncode == second.returncode == 0
    assert "Installing 1 packages of requirements.txt into .venv" in first.stderr
    assert second.stderr == ""

    lock = project / "requirements.txt"
    lock.write_text(lock.read_text() + "# another\n")
    assert "Installing 1 packages" in install(project, environment(project)).stderr


@pytest.mark.slow
def test_without_a_network_one_sentence_says_so(project: Path) -> None:
    with socket.socket() as nobody:  # bound, and not listening
        nobody.bind(("127.0.0.1", 0))
        index = f"http://127.0.0.1:{nobody.getsockname()[1]}/simple"
        offline = environment(project, PIP_NO_INDEX="0", PIP_INDEX_URL=index, PIP_FIND_LINKS="")

        refused = install(project, offline)

    log = project / ".venv" / "pip.log"
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1] == (
        "requirements.txt is not installed: no package index answers: go online, and try again "
        f"(pip's own words: {log})"
    )
    assert "No matching distribution" in log.read_text()
    assert not is_whole(project)


@pytest.mark.endurance
def test_a_package_with_another_hash_is_refused(project: Path) -> None:
    lock = project / "requirements.txt"
    lock.write_text(f"tiny==1.0 --hash=sha256:{'0' * 64}\n")

    refused = install(project, environment(project))

    assert "a package is not the one that the lock names" in refused.stderr.splitlines()[-1]
    assert not is_whole(project)


def test_a_folder_that_cannot_be_written_to_is_named(project: Path) -> None:
    refused = subprocess.run(
        [*namespaces.read_only(project), BARE, "install.py", "requirements.txt"],
        cwd=project,
        env=environment(project),
        capture_output=True,
        text=True,
        check=False,
    )

    assert refused.returncode == 2
    assert refused.stderr == f"{project} cannot be written to: copy the project to a folder of your own\n"


@pytest.mark.parametrize("version", [(3, 10, 4), (3, 15, 0)], ids=["too old", "too new"])
def test_a_python_outside_the_range_is_refused_by_what_it_is(
    project: Path, version: tuple[int, int, int]
) -> None:
    code = (
        f"import runpy, sys; sys.version_info = {version}; sys.argv[1:] = ['requirements.txt']; "
        "sys.path.insert(0, '.'); runpy.run_path('install.py', run_name='__main__')"
    )

    refused = subprocess.run([BARE, "-c", code], cwd=project, capture_output=True, text=True, check=False)

    written = ".".join(map(str, version))
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"Python 3.11 to 3.14 is needed, and {BARE} is {written}: ")
    assert len(refused.stderr.splitlines()) == 1
    assert not (project / ".venv").exists()


# ---- Another Python than that of .venv

HERE = sys.version_info[:2]
OTHER = (HERE[0], HERE[1] + 1)
REFUSAL = (
    f".venv has Python {OTHER[0]}.{OTHER[1]}, not the {HERE[0]}.{HERE[1]} of PYTHON: "
    "remove it (rm -r .venv) to change"
)


@pytest.fixture
def of_another_python(project: Path) -> Path:
    """A project whose lock another Python has installed whole."""
    python = project / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\necho {OTHER[0]} {OTHER[1]}\n")
    python.chmod(0o755)
    digest = hashlib.sha256((project / "requirements.txt").read_bytes()).hexdigest()
    (project / ".venv" / ".requirements-installed").write_text(digest)
    shutil.copy(ROOT / "Makefile", project)
    return project


def make(project: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    own = ("PYTHON", "MAKEFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "MFLAGS")  # the suite may run under make
    inherited = {name: value for name, value in environment(project).items() if name not in own}
    return subprocess.run(
        ["make", ".venv/.requirements-installed", *arguments],
        cwd=project,
        env={**inherited, **more},
        capture_output=True,
        text=True,
        timeout=servers.PATIENCE,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [([f"PYTHON={BARE}"], {}), ([], {"PYTHON": BARE})],
    ids=["on the command line", "in the environment"],
)
def test_a_python_that_somebody_names_is_refused_where_venv_has_another(
    of_another_python: Path, arguments: list[str], variables: dict[str, str]
) -> None:
    refused = make(of_another_python, *arguments, **variables)

    assert (refused.returncode, refused.stderr.splitlines()[0]) == (2, REFUSAL)


def test_a_changed_lock_is_not_installed_for_another_python_than_the_named_one(
    of_another_python: Path,
) -> None:
    (of_another_python / ".venv" / ".requirements-installed").write_text("of an earlier lock")

    refused = make(of_another_python, f"PYTHON={BARE}")

    assert (refused.returncode, refused.stderr.splitlines()[0]) == (2, REFUSAL)


def test_where_nobody_names_a_python_that_of_venv_is_good(of_another_python: Path) -> None:
    (of_another_python / "requirements.txt").touch()  # so that make asks install.py

    gone_on = make(of_another_python)

    assert (gone_on.returncode, gone_on.stderr) == (0, "")


@pytest.mark.endurance
def test_the_python_that_venv_has_may_be_named(project: Path) -> None:
    shutil.copy(ROOT / "Makefile", project)

    first, second = make(project, f"PYTHON={BARE}"), make(project, f"PYTHON={BARE}")

    assert (first.returncode, second.returncode) == (0, 0)
    assert f"Making .venv with Python {HERE[0]}.{HERE[1]}" in first.stderr
    assert second.stderr == ""


# ---- A bare Debian


@pytest.mark.parametrize(("nothing_skipped", "code"), [("1", 1), ("", 0)], ids=["in .ci/run", "by itself"])
def test_a_debian_that_cannot_be_made_fails_where_nothing_may_be_skipped(
    tmp_path: Path, nothing_skipped: str, code: int
) -> None:
    for name, does in {"id": "echo 0", "apt-get": "", "debootstrap": "echo E: no mirror; exit 1"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    variables = {"PATH": path, "TMPDIR": str(tmp_path), "NOTHING_SKIPPED": nothing_skipped}

    ended = subprocess.run(
        [ROOT / ".ci" / "debian"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=servers.PATIENCE,
        check=False,
    )

    assert ended.returncode == code
    assert ended.stderr.splitlines()[-2:] == [
        "E: no mirror",
        "NOT SHOWN: what a newcomer meets on Debian 13, which this machine cannot make",
    ]
    assert not list(tmp_path.glob("debian-13.*"))


def test_no_change_lands_without_a_bare_debian() -> None:
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "NOTHING_SKIPPED=1 .ci/debian"


# ---- Two at once


@pytest.fixture
def silent_index() -> Iterator[str]:
    """A package index that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/simple"


@pytest.mark.endurance
def test_the_second_of_two_waits_for_the_first_and_goes_on_where_that_is_killed(
    project: Path, silent_index: str
) -> None:
    hanging = environment(project, PIP_NO_INDEX="0", PIP_INDEX_URL=silent_index, PIP_FIND_LINKS="")
    logs = [project.parent / name for name in ("first", "second")]
    command = [BARE, "install.py", "requirements.txt"]
    with servers.process(command, hanging, logs[0], project) as first:
        servers.eventually(lambda: "Installing 1 packages" in logs[0].read_text() or None, "the first")
        with servers.process(command, environment(project), logs[1], project) as second:
            servers.eventually(lambda: "waiting for it" in logs[1].read_text() or None, "the second")
            assert not is_whole(project)

            os.killpg(first.pid, signal.SIGKILL)
            code = second.wait(servers.PATIENCE)

    assert code == 0
    assert logs[1].read_text().splitlines()[:2] == [
        "Another make is installing into .venv: waiting for it",
        "Installing 1 packages of requirements.txt into .venv (a minute or two, once)",
    ]
    assert is_whole(project)


@pytest.mark.slow
def test_while_pip_works_the_progress_is_told_also_to_a_file(project: Path, silent_index: str) -> None:
    hanging = environment(project, PIP_NO_INDEX="0", PIP_INDEX_URL=silent_index, PIP_FIND_LINKS="")
    log = project.parent / "log"

    with servers.process([BARE, "install.py", "requirements.txt"], hanging, log, project):
        servers.eventually(lambda: "  fetching: 0 of 1\n" in log.read_text() or None, "the progress")
