"""Every documented way to start, and to end: each says what it does, and none shows a traceback."""

import contextlib
import fcntl
import json
import os
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import termios
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests import servers
from tests.servers import BIN, ROOT, SocketDoor

pytest_plugins = ["tests.api_support"]

HEAVY = ("mlflow", "lightgbm", "pandas", "sklearn", "scipy", "sqlalchemy")


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """A suite in the background of a shell ignores SIGINT, and its children would too."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


def run(arguments: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """A python command that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=servers.PATIENCE,
        check=False,
    )


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.fixture
def modelless(tmp_path: Path) -> dict[str, str]:
    """The environment of an API that finds no model."""
    return servers.alone(tmp_path / "absent.pkl", tmp_path)


# ---- The ways in


@pytest.mark.parametrize(
    "uri",
    [
        "model.joblib",
        pytest.param("/absent/model.txt", marks=pytest.mark.slow),
        pytest.param("scoring-client", marks=pytest.mark.slow),
    ],
)
def test_a_uri_that_can_name_no_model_is_told_before_anything_is_loaded(uri: str, tmp_path: Path) -> None:
    environment = servers.alone(Path(uri), tmp_path) | {"MODEL_URI": uri}

    with servers.api(environment, tmp_path / "log") as door:
        answers = {door.get("/ready").error for _ in range(20)}

    (sentence,) = answers
    assert "MODEL_URI ne nomme ni un fichier « .pkl », ni un modèle du registre" in sentence


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.slow
def test_an_address_of_ipv6_is_listened_on_and_written_as_a_url(
    modelless: dict[str, str], tmp_path: Path
) -> None:
    command = [sys.executable, "api/app.py", "--host", "::1", "--port", "0"]
    with servers.process(command, modelless, tmp_path / "log"):

        def attempt() -> str | None:
            found = re.search(r"http://(\[::1\]:\d+) ", (tmp_path / "log").read_text())
            return found[1] if found else None

        address = servers.eventually(attempt, "the address in the log")
        with urllib.request.urlopen(f"http://{address}/health", timeout=5) as response:
            assert response.status == 200


def test_in_its_own_folder_the_command_serves_decisions(
    documented_pickle: Path, documented_request: dict[str, float], tmp_path: Path
) -> None:
    """`cd api && python app.py`. Other tests start `python api/app.py`."""
    environment = servers.alone(documented_pickle, tmp_path)

    with servers.api(environment, tmp_path / "log", ROOT / "api", "app.py") as door:
        servers.ready(door)
        answer = door.predict(documented_request)

    assert (answer.status, answer.content["prediction"]) == (200, "Classe_1 (risqué)")


@pytest.mark.slow
def test_a_relative_pickle_is_looked_for_in_the_current_folder(
    documented_pickle: Path, tmp_path: Path
) -> None:
    environment = servers.alone(Path(documented_pickle.name), tmp_path)

    with servers.api(
        environment, tmp_path / "log", documented_pickle.parent, str(ROOT / "api" / "app.py")
    ) as door:
        content = servers.ready(door).content

    assert content["name"] == "lgbm_final_model.pkl"


@pytest.mark.slow
def test_a_relative_registry_is_looked_for_in_the_current_folder(
    several_versions: Path, tmp_path: Path
) -> None:
    environment = {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db", "MODEL_CACHE": str(tmp_path / "cache")}

    with servers.api(environment, tmp_path / "log", several_versions, str(ROOT / "api" / "app.py")) as door:
        content = servers.ready(door).content

    assert (content["name"], content["version"]) == ("scoring-client", "1")


@pytest.mark.parametrize(
    "application", ["api.app:app", pytest.param("api.app:create_app()", marks=pytest.mark.slow)]
)
def test_gunicorn_serves_the_module_attribute_and_the_factory(
    documented_pickle: Path, documented_request: dict[str, float], tmp_path: Path, application: str
) -> None:
    port = servers.free_port()
    command = [str(BIN / "gunicorn"), application, "--bind", f"127.0.0.1:{port}", "--workers", "1"]
    environment = servers.alone(documented_pickle, tmp_path)

    with servers.process(command, environment, tmp_path / "log") as child:
        door = SocketDoor(port, tmp_path / "log", child.pid)
        content = servers.ready(door).content
        answer = door.predict(documented_request)

    assert content["name"] == "lgbm_final_model.pkl"
    assert (answer.status, answer.content["prediction"]) == (200, "Classe_1 (risqué)")


def test_the_module_attribute_and_the_factory_are_flask_applications(modelless: dict[str, str]) -> None:
    """The attribute is one application, however often it is asked for."""
    code = "import api.app; print(*(type(a).__name__ for a in (api.app.app, api.app.create_app())))"

    shown = run(["-c", f"{code}; print(api.app.app is api.app.app)"], modelless)

    assert (shown.stdout, shown.stderr) == ("Flask Flask\nTrue\n", "")


def test_the_module_has_no_other_attribute_than_its_own() -> None:
    shown = run(["-c", "import api.app; api.app.application"], {})

    assert shown.stderr.splitlines()[-1].startswith("AttributeError: ")
    assert "application" in shown.stderr.splitlines()[-1]


# ---- Nothing happens at import, and nothing heavy while serving


def test_importing_the_application_starts_nothing(modelless: dict[str, str], tmp_path: Path) -> None:
    code = (
        "import sys, threading, api.app; "
        f"print(threading.active_count(), [name for name in {HEAVY} if name in sys.modules])"
    )

    shown = run(["-c", code], modelless | {"PYTHONDONTWRITEBYTECODE": "1"})

    assert (shown.stdout, shown.stderr) == ("1 []\n", "")
    assert list(tmp_path.iterdir()) == []


def test_the_process_that_supervises_loads_neither_numpy_nor_flask() -> None:
    """It would be ready later, and keep their memory."""
    names = "[name for name in ('numpy', 'flask') if name in sys.modules]"
    code = f"import sys, api.server.supervisor; print({names})"

    assert run(["-c", code], {}).stdout == "[]\n"


def test_a_serving_process_has_loaded_neither_mlflow_nor_pandas(
    documented_pickle: Path, tmp_path: Path
) -> None:
    code = f"""
import sys, time
import api.app
client = api.app.create_app().test_client()
deadline = time.monotonic() + {servers.PATIENCE}
while client.get("/ready").status_code != 200 and time.monotonic() < deadline:
    time.sleep(0.05)
print(client.get("/ready").status_code, [name for name in {HEAVY} if name in sys.modules])
"""

    shown = run(["-c", code], servers.alone(documented_pickle, tmp_path))

    assert shown.stdout == "200 []\n"


# ---- What the command line says


@pytest.mark.parametrize("variables", [{}, {"RELOAD_SECONDS": "often", "SHADOW_SHARE": "2"}])
def test_help_names_the_options_and_the_variables(variables: dict[str, str]) -> None:
    shown = run(["api/app.py", "--help"], variables)

    named = ("--port", "--host", "MODEL_URI", "MLFLOW_TRACKING_URI", "MODEL_CACHE", "PORT")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert [name for name in named if name not in shown.stdout] == []


def one_line(ended: subprocess.CompletedProcess[str]) -> str:
    (line,) = ended.stderr.splitlines()
    assert ended.stdout == ""
    return line


@pytest.mark.parametrize("how", ["PORT", "--port"])
def test_a_taken_port_is_one_clear_line(modelless: dict[str, str], how: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        arguments = ["--port", port] if how == "--port" else []

        ended = run(["api/app.py", *arguments], modelless | {"PORT": port})

    assert ended.returncode == 1
    assert one_line(ended).startswith(f"Port {port} is not available (Address already in use")


@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.1"])
def test_an_address_of_another_machine_is_no_busy_port(modelless: dict[str, str], host: str) -> None:
    ended = run(["api/app.py", "--port", "0", "--no-auth", "--host", host], modelless)

    assert ended.stderr == f"--host {host} is no address of this machine\n"


def test_an_unknown_form_of_log_is_one_clear_line(modelless: dict[str, str]) -> None:
    ended = run(["api/app.py", "--port", "0"], modelless | {"LOG_FORMAT": "xml"})

    assert ended.stderr == "LOG_FORMAT must be json or text, not 'xml'\n"


@pytest.mark.parametrize("port", ["70000", "-1", "99999999999999999999"])
def test_a_port_that_cannot_be_is_one_clear_line(modelless: dict[str, str], port: str) -> None:
    ended = run(["api/app.py", f"--port={port}"], modelless)

    assert ended.returncode != 0
    assert port in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("port", ["http", "5000.5"])
def test_a_port_that_is_no_number_is_a_usage_error(modelless: dict[str, str], port: str) -> None:
    ended = run(["api/app.py"], modelless | {"PORT": port})

    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == f"Refused: argument --port: invalid int value: '{port}'"


def test_the_log_says_where_it_answers(socket_door: SocketDoor) -> None:
    first = json.loads(socket_door.said.splitlines()[0])

    assert first["event"] == (
        f"Scoring Client listens on {socket_door.url} for POST /predict and GET /docs "
        f"(process {socket_door.pid})"
    )


# ---- The way out


ENDS = {signal.SIGTERM: 0, signal.SIGINT: 130}


# What SIGTERM ends well is asked of a service under load, too.
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGTERM, id="SIGTERM", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, id="SIGINT"),
    ],
)
@pytest.mark.parametrize(
    "how",
    [
        pytest.param([], id="by workers"),
        pytest.param(["--debug"], id="by Flask's server", marks=pytest.mark.slow),
    ],
)
def test_a_serving_api_ends_cleanly(
    documented_pickle: Path, tmp_path: Path, number: signal.Signals, how: list[str]
) -> None:
    command = [sys.executable, "api/app.py", "--port", "0", *how]
    environment = servers.alone(documented_pickle, tmp_path)
    with servers.process(command, environment, tmp_path / "log") as child:
        door = servers.listening(child, tmp_path / "log")
        servers.ready(door)

        os.kill(child.pid, number)
        code = child.wait(timeout=servers.PATIENCE)

    assert code == ENDS[number]
    assert "Traceback" not in door.said


@pytest.mark.slow
@pytest.mark.parametrize("leader", ["itself", "make"])
def test_who_closes_the_terminal_ends_the_service_that_was_started_there(
    documented_pickle: Path, tmp_path: Path, leader: str
) -> None:
    """GNU make waits for its child, and passes no SIGHUP on."""
    command = [sys.executable, "api/app.py", "--port", "0"]
    (tmp_path / "Makefile").write_text(f"serve:\n\t@exec {shlex.join(command)}\n")
    ours, theirs = os.openpty()
    child = subprocess.Popen(
        ["make", "-f", str(tmp_path / "Makefile")] if leader == "make" else command,
        cwd=ROOT,
        env=servers.alone(documented_pickle, tmp_path) | {"LOG_FORMAT": "text"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    said = bytearray()
    enough = threading.Event()
    reader = threading.Thread(target=_gather, args=[ours, said, enough], daemon=True)
    reader.start()
    try:
        named = servers.eventually(lambda: re.search(rb"\(process (\d+)\)", said), "a service")
        service = int(named[1])
        servers.eventually(lambda: b"serving" in said or None, "a model")
        os.kill(service, signal.SIGHUP)
        servers.eventually(
            lambda: b"new workers answer" in said or None, "new workers: the terminal is there"
        )

        enough.set()
        reader.join()
        os.close(ours)

        servers.eventually(lambda: child.poll() is not None or not _runs(service) or None, "its end")
    finally:
        child.kill()
        child.wait()


def _runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _gather(stream: int, said: bytearray, enough: threading.Event) -> None:
    with contextlib.suppress(OSError):  # the other side has ended
        while not enough.is_set():
            if select.select([stream], [], [], 0.1)[0]:
                said += os.read(stream, 4096)


@pytest.mark.parametrize(
    ("number", "send"),
    [
        pytest.param(signal.SIGTERM, os.kill, id="SIGTERM"),
        pytest.param(signal.SIGINT, os.killpg, id="SIGINT with its loader, as Ctrl-C does"),
        pytest.param(signal.SIGTERM, os.killpg, id="SIGTERM with its loader", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, os.kill, id="SIGINT", marks=pytest.mark.slow),
    ],
)
def test_an_api_that_has_just_said_where_it_answers_ends_cleanly(
    tmp_path: Path, number: signal.Signals, send: Callable[[int, int], None]
) -> None:
    environment = {**os.environ, **servers.registry_in(tmp_path)}
    command = [sys.executable, "api/app.py", "--port", "0"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, start_new_session=True
    ) as child:
        try:
            assert child.stderr is not None
            child.stderr.readline()

            send(child.pid, number)
            _, said = child.communicate(timeout=servers.PATIENCE)
        finally:
            child.kill()

    assert child.returncode == ENDS[number]
    assert b"Traceback" not in said
    assert _loaders_of(environment["MODEL_CACHE"]) == []


def _loaders_of(cache: str) -> list[int]:
    """The running processes that have this folder on their command line."""
    lines = {file: _read(file) for file in Path("/proc").glob("[0-9]*/cmdline")}
    return [int(file.parent.name) for file, line in lines.items() if cache in line]


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # it has just ended
        return ""


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["1>&-", "0<&- 1>&-"])
def test_a_service_whose_standard_streams_are_closed_answers(
    documented_pickle: Path, tmp_path: Path, closed: str
) -> None:
    command = ["sh", "-c", f'exec "$0" "$@" {closed}', sys.executable, "api/app.py", "--port", "0"]
    environment, log = servers.alone(documented_pickle, tmp_path), tmp_path / "log"

    with servers.process([*command, "--workers", "1"], environment, log, ROOT) as child:
        assert servers.ready(servers.listening(child, log)).status == 200
