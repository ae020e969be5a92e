"""An environment of requirements-serve.txt alone runs the API against a registry over HTTP."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from api.app import create_app
from mlflow_model.handover import model_files
from tests import servers
from tests.command_line import register_py
from tests.live import serves
from tests.predict_batch_support import ARROW, THREE, WRITERS, decisions, send
from tests.servers import ROOT, FlaskDoor, SocketDoor

pytestmark = pytest.mark.slow

SHIPPED = ROOT / "models" / "lgbm_final_model.pkl"
ENTRANCES = (
    "api.app",
    "api.server.worker",
    "api.delivery.loader",
    "api.challenger.process",
    "api.deciding.computing_process",
    "api.recording.writer_process",
    "api.reference.history_process",
    "api.reference.reference_process",
    "api.reviewing.journal_process",
    "mlflow_model.bundle.trial",
)
LEFT_OUT = ("pandas", "scipy", "sklearn", "matplotlib", "duckdb", "streamlit")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The interpreter of a new environment with the serving set in it, and with pip."""
    folder = tmp_path_factory.mktemp("serving-set")
    program = str(folder / "bin" / "python")
    succeeds([sys.executable, "-m", "venv", str(folder)])
    install = [program, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    succeeds([*install, "--no-deps", "--require-hashes", "-r", str(ROOT / "requirements-serve.txt")])
    yield program
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def registry(migrated_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an `mlflow server` whose champion is the shipped model."""
    folder, port = tmp_path_factory.mktemp("registry"), servers.free_port()
    shutil.copy(migrated_store, folder)
    address = f"http://127.0.0.1:{port}"
    with (
        servers.registry_server(f"sqlite:///{folder / 'mlflow.db'}", folder, port),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("MLFLOW_TRACKING_URI", address)
        register_py("--pickle", str(SHIPPED))
        yield address


@pytest.fixture(scope="module")
def door(python: str, registry: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SocketDoor]:
    """The API with the serving set alone, as soon as it has the champion."""
    with api(python, registry, tmp_path_factory.mktemp("api")) as found:
        servers.ready(found)
        yield found


@contextmanager
def api(python: str, store: str, folder: Path) -> Iterator[SocketDoor]:
    environment = {
        "MLFLOW_TRACKING_URI": store,
        "MODEL_CACHE": str(folder / "cache"),
        "RELOAD_SECONDS": "0.3",
    }
    command = [python, "api/app.py", "--port", "0", "--workers", "1"]
    with servers.process(command, environment, folder / "log") as child:
        yield servers.listening(child, folder / "log")


def succeeds(command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def documented_answer() -> Mapping[str, Any]:
    found = re.search(r'^\{\n  "prediction".*?^\}$', (ROOT / "docs/api.md").read_text(), re.M | re.S)
    assert found is not None
    return dict(json.loads(found[0]))


def test_it_decides_as_the_documentation_shows(
    door: SocketDoor, documented_request: dict[str, float]
) -> None:
    answer = door.predict(documented_request)

    assert answer.content == documented_answer()
    assert answer.headers["X-Model-Version"] == "1"


def test_it_decides_as_with_all_requirements_to_the_last_byte(
    door: SocketDoor, documented_request: dict[str, float]
) -> None:
    ordinary = FlaskDoor(create_app(servers.serving(model_files.convert(SHIPPED)[0].scorer())))
    batch = WRITERS[ARROW](THREE)

    assert door.predict(documented_request).body == ordinary.predict(documented_request).body
    assert decisions(send(door, batch, ARROW)) == decisions(send(ordinary, batch, ARROW))


def test_it_follows_the_alias_to_a_new_champion_and_back(
    door: SocketDoor, documented_request: dict[str, float]
) -> None:
    register_py("--pickle", str(SHIPPED), "--margin", "0.03", "--alias", "champion")
    serves(door, "2")
    answer = door.predict(documented_request)
    register_py("rollback")
    serves(door, "1")

    assert answer.content["margin"] == 0.03
    assert door.predict(documented_request).content == documented_answer()


def test_it_says_what_to_do_with_a_registry_whose_driver_is_missing(python: str, tmp_path: Path) -> None:
    with api(python, "postgresql://127.0.0.1:9/registry", tmp_path) as door:
        said = servers.eventually(lambda: re.search("no model yet: .*", door.said), "the reason")

    assert "le pilote de ce registre n’est pas installé ; passez par « mlflow server »" in said[0]


@pytest.mark.parametrize("module", ENTRANCES)
def test_every_process_of_the_service_can_be_imported(python: str, module: str) -> None:
    succeeds([python, "-c", f"import {module}"])


def test_the_journal_is_read_and_verified_there(
    python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_URL", f"sqlite:///{tmp_path}/journal.db")

    for arguments in (["init"], ["list"], ["verify"]):
        succeeds([python, "-m", "journal", *arguments])


def test_what_only_other_commands_need_is_left_out(python: str) -> None:
    code = f"import importlib.util as u; print([name for name in {LEFT_OUT} if u.find_spec(name)])"

    assert succeeds([python, "-c", code]) == "[]\n"
