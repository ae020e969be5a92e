"""A machine that lacks something is told what in one sentence, and a command that is stopped ends quietly."""

import ctypes
import gzip
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

import register
from mlflow_model import command, machine
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.errors import LoadingFailed, OutOfReach
from mlflow_model.handover import model_files
from tests import namespaces, servers
from tests.servers import ROOT
from tests.test_trial import doing, kept, verify

COMMANDS = {
    "register.py": ["register.py"],
    "api/app.py": ["api/app.py", "--port", "0"],
    "python -m training": ["-m", "training", "--clients", "10"],
    "python -m training.synthetic": ["-m", "training.synthetic", "--out", "nowhere"],
    "python -m training.reference": ["-m", "training.reference", "--out", "nowhere"],
}
OF_LIGHTGBM = ["register.py", "api/app.py", "python -m training"]
NO_PACKAGES = "packages are missing: run make serve, or source .venv/bin/activate\n"
NO_LIBRARY = "libgomp.so.1 is missing: apt-get install libgomp1\n"
# Each starts a process that imports what it needs; those of training need most.
SOME_DAILY = [
    pytest.param(name, marks=[] if name in ("register.py", "api/app.py") else [pytest.mark.slow])
    for name in COMMANDS
]
BARE = str(Path(sys.base_prefix) / "bin" / "python3")


def ended_with(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return ended(command, environment)


def ended(
    command: Sequence[str], environment: Mapping[str, str] | None = None, folder: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        command,
        cwd=folder,
        env={**inherited, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=servers.PATIENCE,
        check=False,
    )


def without_library(command: Sequence[str]) -> list[str]:
    """The command where the file of the library is empty: in a mount namespace of its own."""
    ctypes.CDLL(machine.LIBRARY)
    found = re.search(r"\S*/libgomp\.so\.1\S*", Path("/proc/self/maps").read_text())
    assert found is not None
    return [*namespaces.without(found[0]), *command]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_without_the_environment_says_how_to_get_it(name: str) -> None:
    refused = ended([sys.executable, "-S", *COMMANDS[name]])

    assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", NO_PACKAGES)


@pytest.mark.parametrize("name", OF_LIGHTGBM)
def test_a_command_without_the_library_says_what_to_install(name: str) -> None:
    refused = ended(without_library([sys.executable, *COMMANDS[name]]))

    assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", NO_LIBRARY)


def test_what_make_runs_before_it_installs_anything_says_it_too() -> None:
    refused = ended(without_library([BARE, "install.py", "requirements.txt"]))

    assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", NO_LIBRARY)


# ---- A trial blames the machine for what the machine lacks


def test_a_trial_without_the_library_is_not_the_versions_fault(bundle: Bundle, tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from mlflow_model.bundle.trial import Trial
from mlflow_model.errors import OutOfReach
try:
    Trial().verified(Path({str(kept(bundle, tmp_path))!r}), {bundle.digest!r})
except OutOfReach as problem:
    print(problem.detail)
"""

    said = ended(without_library([sys.executable, "-c", code])).stdout

    assert said == "l’essai de la version : la bibliothèque libgomp.so.1 manque ; installez libgomp1\n"


def test_a_trial_without_the_packages_is_not_the_versions_fault(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial runs in a Python that has none."""
    monkeypatch.setattr(sys, "executable", BARE)

    with pytest.raises(OutOfReach, match="des paquets Python manquent"):
        verify(bundle, tmp_path)


@pytest.mark.parametrize("wants", [b"x = bytearray(1 << 30)", b"os.abort()"], ids=["memory", "an end"])
def test_a_trial_under_a_low_limit_of_memory_is_not_the_versions_fault(
    bundle: Bundle, tmp_path: Path, wants: bytes
) -> None:
    greedy = doing(wants, bundle)
    code = f"""
from pathlib import Path
from mlflow_model import processes
from mlflow_model.bundle.trial import Trial
from mlflow_model.errors import OutOfReach
processes.limit(memory=2**30)
try:
    Trial().verified(Path({str(kept(greedy, tmp_path))!r}), {greedy.digest!r})
except OutOfReach as problem:
    print(problem.detail)
"""

    said = ended([sys.executable, "-c", code]).stdout

    assert said.startswith("l’essai de la version : la machine limite un processus à 1024 Mio de mémoire")


def test_the_same_version_is_to_blame_where_the_machine_has_the_memory(
    bundle: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(LoadingFailed) as refused:
        verify(doing(b"os.abort()", bundle), tmp_path)

    assert not isinstance(refused.value, OutOfReach)


# ---- A service that can have no worker


def test_a_service_whose_workers_cannot_start_never_says_that_it_listens(tmp_path: Path) -> None:
    """Its code is broken in a copy, as an unfinished update would."""
    for room in ("api", "mlflow_model"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    worker = tmp_path / "api" / "server" / "worker.py"
    worker.write_text("raise ImportError('an unfinished update')\n" + worker.read_text())
    environment = servers.alone(tmp_path / "absent.pkl", tmp_path)

    refused = ended([sys.executable, "api/app.py", "--port", "0", "--workers", "2"], environment, tmp_path)

    assert refused.returncode == 2
    assert "listens" not in refused.stderr
    assert "an unfinished update" in refused.stderr
    assert "no worker can start (the lines above say why): the service ends" in refused.stderr


# ---- A command without memory


@pytest.mark.parametrize(
    "error", ["MemoryError", "ImportError('x.so: failed to map segment from shared object')"]
)
def test_a_command_without_memory_says_so(error: str) -> None:
    code = f"from mlflow_model import command\ncommand.begin()\nraise {error}"

    ended_early = ended([sys.executable, "-c", code])

    assert (ended_early.returncode, ended_early.stdout) == (2, "")
    assert ended_early.stderr == (
        "the memory is not enough for this command: free some, or raise its limit (ulimit -v)\n"
    )


# ---- A command that is stopped


@pytest.mark.parametrize("name", SOME_DAILY)
def test_ctrl_c_while_a_command_imports_what_it_needs_ends_it_quietly(name: str, tmp_path: Path) -> None:
    """As soon as numpy is there: MLflow and the rest take seconds more."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background ignores it
    log = tmp_path / "log"
    environment = servers.registry_in(tmp_path)
    try:
        with servers.process([sys.executable, *COMMANDS[name]], environment, log) as child:
            servers.eventually(lambda: _is_importing(child.pid, name) or None, "imports")
            child.send_signal(signal.SIGINT)
            code = child.wait(servers.PATIENCE)
    finally:
        signal.signal(signal.SIGINT, former)

    assert code == 130
    assert "Traceback" not in log.read_text()


BEGUN = """
import signal
from mlflow_model import command
signal.signal(signal.SIGINT, signal.default_int_handler)
command.begin()
"""
INTERRUPTED: dict[str, tuple[str, str]] = {
    "a package that is imported makes another error of it": (
        """
try:
    signal.raise_signal(signal.SIGINT)
except BaseException as error:
    raise ImportError from error
""",
        "",
    ),
    "the command puts its things in order": (
        """
def main():
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        print("in order")
command.run(main)
""",
        "in order\n",
    ),
    "a library makes another error of it": (
        """
def main():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt as error:
        raise ValueError from error
command.run(main)
""",
        "",
    ),
}


@pytest.mark.parametrize(("code", "output"), INTERRUPTED.values(), ids=list(INTERRUPTED))
def test_ctrl_c_ends_a_command_quietly_whatever_becomes_of_it(code: str, output: str) -> None:
    stopped = ended([sys.executable, "-c", BEGUN + code])

    assert (stopped.returncode, stopped.stdout, stopped.stderr) == (130, output, "")


def _is_importing(pid: int, name: str) -> bool:
    """The API's supervisor imports no numpy."""
    awaited = "_json" if name == "api/app.py" else "numpy"
    return awaited in servers.read_of_process(Path(f"/proc/{pid}/maps"))


@pytest.mark.slow
def test_a_list_whose_reader_has_gone_ends_quietly(registered: Path) -> None:
    shown = ended(["sh", "-c", f"{{ {sys.executable} register.py list; echo $? >&2; }} | true"])

    assert shown.stderr == "141\n"


@pytest.mark.parametrize("name", [one for one in SOME_DAILY if one.values != ("api/app.py",)])
def test_help_whose_reader_has_gone_ends_quietly(name: str) -> None:
    command = " ".join([sys.executable, *COMMANDS[name], "--help"])

    shown = ended(["sh", "-c", f"{{ {command}; echo $? >&2; }} | true"])

    assert shown.stderr == "141\n"


@pytest.mark.slow
def test_a_command_whose_output_is_closed_ends_as_it_would(registered: Path) -> None:
    refused = ended(["sh", "-c", f'"{sys.executable}" register.py rollback >&-'])

    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr


# ---- A command that a sentence names


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with .venv, in which the reader is; another Python is on the PATH."""
    for folder in (".venv/bin", "other/bin"):
        python = tmp_path / folder / "python"
        python.parent.mkdir(parents=True)
        python.touch(0o755)
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv/bin/python"))
    monkeypatch.setenv("PATH", str(tmp_path / "other/bin"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def activate(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(clone / ".venv/bin"), prepend=os.pathsep)


def test_where_venv_is_active_a_sentence_says_python(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    activate(clone, monkeypatch)

    assert command.named_here("run python register.py list") == "run python register.py list"


@pytest.mark.parametrize("others", ["other/bin", "nothing"], ids=["another python", "no python"])
def test_where_venv_is_not_active_a_sentence_names_its_python(
    clone: Path, monkeypatch: pytest.MonkeyPatch, others: str
) -> None:
    monkeypatch.setenv("PATH", str(clone / others))

    assert command.named_here("lancez « python register.py »") == "lancez « .venv/bin/python register.py »"
    assert command.named_here("python -m training") == ".venv/bin/python -m training"


def test_make_s_own_path_is_not_the_readers(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    activate(clone, monkeypatch)
    monkeypatch.setenv("MAKELEVEL", "1")

    assert command.named_here("python register.py promote 2") == ".venv/bin/python register.py promote 2"


def test_in_another_folder_a_sentence_names_whole_paths(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone / "other")

    assert command.named_here("python register.py") == f"{clone}/.venv/bin/python {clone}/register.py"


def test_what_is_named_already_is_not_named_again(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    activate(clone, monkeypatch)
    monkeypatch.setenv("MAKELEVEL", "1")

    assert command.named_here(command.named_here("python -m pip")) == ".venv/bin/python -m pip"


def test_a_word_that_begins_as_a_command_does_is_left_as_it_is(clone: Path) -> None:
    assert command.named_here("a python register") == "a python register"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        pytest.param(["register.py", "list"], "run {} register.py\n", marks=pytest.mark.slow),
        (["api/app.py", "--host", "0.0.0.0"], "({} -m api.tokens --help)"),  # noqa: S104
        pytest.param(["-m", "training", "--help"], "`{} register.py\n--pickle", marks=pytest.mark.slow),
    ],
    ids=["register.py", "api/app.py", "python -m training"],
)
@pytest.mark.endurance
def test_a_command_line_names_its_own_python_where_none_is_on_the_path(
    store: Path, arguments: list[str], named: str
) -> None:
    variables = {"MLFLOW_TRACKING_URI": f"sqlite:///{store}/mlflow.db", "PATH": str(store)}

    said = ended([sys.executable, *arguments], variables)

    assert named.format(sys.executable.removeprefix(f"{ROOT}/")) in said.stdout + said.stderr


@pytest.mark.endurance
def test_the_command_that_register_py_names_works_where_no_python_is_on_the_path(store: Path) -> None:
    variables = {"MLFLOW_TRACKING_URI": f"sqlite:///{store}/mlflow.db", "PATH": str(store)}
    told = ended_with(sys.executable, "register.py", "list", **variables).stderr

    run = ended_with("/bin/sh", "-c", told.partition("run ")[2], **variables)

    assert (run.returncode, run.stderr.splitlines()[-1]) == (
        0,
        "scoring-client version 1 registered; champion points at it",
    )


# ---- A model's file is not blamed for what the machine lacks


READ = """
import sys
from pathlib import Path
from mlflow_model import processes
from mlflow_model.errors import OutOfReach
from mlflow_model.handover import model_files
processes.limit(memory=int(sys.argv[2]) if len(sys.argv) > 2 else None)
try:
    model_files.read(Path(sys.argv[1]))
except OutOfReach as problem:
    print(problem.detail)
"""


def test_a_model_s_file_is_not_blamed_for_a_missing_library(documented_pickle: Path) -> None:
    said = ended(without_library([sys.executable, "-c", READ, str(documented_pickle)])).stdout

    assert said == "la lecture du fichier : la bibliothèque libgomp.so.1 manque ; installez libgomp1\n"


def test_a_model_s_file_is_not_blamed_for_missing_packages(
    documented_pickle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", BARE)

    with pytest.raises(OutOfReach, match="la lecture du fichier : des paquets Python manquent"):
        model_files.read(documented_pickle)


@pytest.mark.slow
def test_a_model_s_file_is_not_blamed_for_a_low_limit_of_memory(tmp_path: Path) -> None:
    large = tmp_path / "model.pkl"
    large.write_bytes(gzip.compress(pickle.dumps({"note": bytes(240 * 2**20)})))

    said = ended([sys.executable, "-c", READ, str(large), str(500 * 2**20)]).stdout

    assert said.startswith("la lecture du fichier : la machine limite un processus à 500 Mio de mémoire")


# ---- What else stands in the way


@pytest.mark.slow
@pytest.mark.parametrize("has_registry", [True, False])
def test_a_registry_that_is_read_only_is_said_to_be(has_registry: bool, store: Path) -> None:
    if not has_registry:
        (store / "mlflow.db").unlink()

    told = ended_with(
        *namespaces.read_only(store),
        sys.executable,
        "register.py",
        MLFLOW_TRACKING_URI=f"sqlite:///{store}/mlflow.db",
    )

    assert told.returncode == 2
    assert "est en lecture seule ; vérifiez ses droits" in told.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("target", "given", "sentence"),
    [
        ("train", "CLIENTS=abc", "CLIENTS=abc is not a number of clients"),
        ("serve", "PORT=abc", "PORT=abc is not a port: name a number from 1 to 65535"),
    ],
)
def test_a_number_that_is_none_is_refused_at_once(target: str, given: str, sentence: str) -> None:
    started = time.monotonic()

    told = ended_with("make", target, given)

    assert told.stderr.splitlines()[0] == sentence
    assert time.monotonic() - started < 2


@pytest.mark.slow
def test_without_git_nothing_is_said_of_it(store: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()

    told = ended_with(
        *(sys.executable, "register.py"),
        MLFLOW_TRACKING_URI=f"sqlite:///{store}/mlflow.db",
        PATH=str(tmp_path / "bin"),
    )

    assert told.returncode == 0
    assert "git" not in told.stderr


def test_a_validity_without_a_signature_is_told(registered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        register.main(["--valid-days", "3"])

    told = capsys.readouterr().err
    assert told.endswith("--valid-days is that of a signature: --sign KEY.pem makes one\n")
