"""The commands of the README, run as a newcomer runs them: make, and mlflow run."""

import os
import re
import shutil
import socket
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests import servers
from tests.servers import BIN, PATIENCE, ROOT, SocketDoor
from tests.test_features_from_tables import portfolio, write_portfolio


@pytest.fixture
def newcomer(tmp_path: Path) -> dict[str, str]:
    """An environment whose registry and cache do not exist yet, apart from the repository's own."""
    (tmp_path / "cache").mkdir()
    return {**servers.registry_in(tmp_path), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture
def regular(newcomer: dict[str, str], migrated_store: Path, tmp_path: Path) -> dict[str, str]:
    """The same with a registry in which nothing is yet: making one takes seconds."""
    shutil.copy(migrated_store, tmp_path / "mlflow.db")
    return newcomer


@pytest.mark.slow
def test_make_serve_registers_once_and_then_only_serves(
    newcomer: dict[str, str], documented_request: dict[str, float], tmp_path: Path
) -> None:
    said, answers = [], []
    for _ in range(2):
        port, log = servers.free_port(), tmp_path / "log"
        with servers.process(["make", "serve", f"PORT={port}"], newcomer, log) as child:
            door = SocketDoor(port, log, child.pid)
            servers.ready(door)
            answers.append(door.predict(documented_request).content)
            said.append(door.said)

    assert answers[0] == answers[1]
    assert "scoring-client version 1 registered; champion points at it" in said[0]
    assert "registered" not in said[1]


@pytest.mark.slow
def test_make_serve_on_a_taken_port_says_so_in_one_line(registered: Path) -> None:
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = ["make", "serve", f"PORT={port}"]

        refused = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    said = [line for line in refused.stderr.splitlines() if not line.startswith("make")]
    assert refused.returncode != 0
    assert said == [f"Port {port} is not available (Address already in use): choose another with PORT="]


@pytest.mark.slow
def test_make_ui_shows_the_registry(regular: dict[str, str], tmp_path: Path) -> None:
    port = servers.free_port()
    with servers.process(["make", "ui", f"UI_PORT={port}"], regular, tmp_path / "log") as child:
        page = servers.ready(SocketDoor(port, tmp_path / "log", child.pid), "/")

    assert b"MLflow" in page.body


@pytest.mark.slow
def test_make_invocations_serves_the_champion(registered: Path, tmp_path: Path) -> None:
    port, environment = servers.free_port(), {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    command = ["make", "invocations", f"INVOCATIONS_PORT={port}"]
    with servers.process(command, environment, tmp_path / "log") as child:
        assert servers.ready(SocketDoor(port, tmp_path / "log", child.pid), "/ping").status == 200


def test_make_help_names_every_command() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets is not None
    assert [name for name in targets[1].split() if f"make {name} " not in shown] == []


def mlflow_run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """From a folder of its own, where MLflow puts what it stores for the run."""
    command = [str(BIN / "mlflow"), "run", str(ROOT), "--env-manager", "local", *arguments]
    return subprocess.run(
        command,
        cwd=environment["MODEL_CACHE"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        check=False,
    )


@pytest.mark.slow
def test_mlflow_run_registers_the_shipped_pickle(regular: dict[str, str]) -> None:
    ended = mlflow_run(regular, "-e", "register")

    assert ended.returncode == 0, ended.stderr
    assert "scoring-client version 1 registered; champion points at it" in ended.stderr


@pytest.mark.endurance
def test_mlflow_run_draws_trains_and_registers_a_candidate(regular: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "trained"

    ended = mlflow_run(regular, "-P", "clients=500", "-P", f"out={out}")

    assert ended.returncode == 0, ended.stderr
    assert "Drawing the tables of 500 labelled clients" in ended.stderr
    assert "scoring-client version 1 registered; candidate points at it" in ended.stderr
    assert sorted(path.suffix for path in out.iterdir()) == [".md", ".pkl"]


def test_make_train_runs_what_mlflow_run_does() -> None:
    """The commands, which the test above executes."""
    command = ["make", "--dry-run", "train", "CLIENTS=500", "TRAINED=out"]

    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert [line.removeprefix(".venv/bin/") for line in shown.splitlines() if "/python" in line][-2:] == [
        "python -m training --clients 500 --out out",
        "python register.py --pickle out/lgbm_final_model.pkl --alias candidate",
    ]


@pytest.mark.endurance
def test_mlflow_run_train_only_writes_the_pickle_and_its_card_and_registers_nothing(
    regular: dict[str, str], tmp_path: Path
) -> None:
    tables, out = tmp_path / "raw", tmp_path / "models"
    tables.mkdir()
    write_portfolio(tables, portfolio(600))

    ended = mlflow_run(regular, "-e", "train", "-P", f"data_dir={tables}", "-P", f"out={out}")

    assert ended.returncode == 0, ended.stderr
    assert "registered" not in ended.stderr
    assert sorted(path.suffix for path in out.iterdir()) == [".md", ".pkl"]
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as registry:
        assert registry.execute("SELECT count(*) FROM model_versions").fetchone() == (0,)
