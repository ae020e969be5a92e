"""The commands of the README, run as a newcomer runs them: make, and mlflow run."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PATIENCE = 60.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def newcomer(tmp_path: Path) -> dict[str, str]:
    """An environment whose registry and cache are empty and apart from the repository's own."""
    return os.environ | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}",
        "MODEL_CACHE": str(tmp_path / "cache"),
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }


@contextmanager
def running(command: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    """A command and its children, stopped at the end by the group that it leads."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=20)


def answer(url: str, body: dict[str, float] | None = None) -> bytes:
    """The first 200 answer within the patience of a newcomer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                return bytes(response.read())
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def test_make_serve_registers_once_and_then_only_serves(
    newcomer: dict[str, str], documented_request: dict[str, float], tmp_path: Path
) -> None:
    port, log = free_port(), tmp_path / "log"
    with running(["make", "serve", f"PORT={port}"], newcomer, log):
        first = answer(f"http://127.0.0.1:{port}/predict", documented_request)
    assert "version 1 registered" in log.read_text()

    with running(["make", "serve", f"PORT={port}"], newcomer, log):
        second = answer(f"http://127.0.0.1:{port}/predict", documented_request)
    assert second == first
    assert "registered" not in log.read_text()


def test_make_serve_on_a_taken_port_says_so_in_one_line(newcomer: dict[str, str]) -> None:
    subprocess.run(["make", "register"], cwd=ROOT, env=newcomer, check=True, capture_output=True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        refused = subprocess.run(
            ["make", "serve", f"PORT={port}"],
            cwd=ROOT,
            env=newcomer,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    ours = [line for line in refused.stderr.splitlines() if not line.startswith("make")]
    assert refused.returncode != 0
    assert len(ours) == 1
    assert re.match(rf"Port {port} is not available .*PORT=", ours[0])


def test_make_ui_shows_the_registry(newcomer: dict[str, str], tmp_path: Path) -> None:
    port = free_port()
    with running(["make", "ui", f"UI_PORT={port}"], newcomer, tmp_path / "log"):
        page = answer(f"http://127.0.0.1:{port}/")

    assert b"MLflow" in page


def test_make_help_names_every_command() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets is not None
    assert [name for name in targets[1].split() if f"make {name} " not in shown] == []


def mlflow_run(environment: dict[str, str], *arguments: str) -> str:
    command = [str(BIN / "mlflow"), "run", ".", "--env-manager", "local", *arguments]
    process = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=3 * PATIENCE
    )
    assert process.returncode == 0, process.stderr
    return process.stderr


def test_mlflow_run_registers_the_shipped_pickle(newcomer: dict[str, str]) -> None:
    said = mlflow_run(newcomer, "-e", "register")

    assert "scoring-client version 1 registered; champion points at it" in said


def test_mlflow_run_trains_and_registers_what_it_trained(
    newcomer: dict[str, str], raw_tables: Path, tmp_path: Path
) -> None:
    out = tmp_path / "models"

    said = mlflow_run(newcomer, "-P", f"data_dir={raw_tables}", "-P", f"out={out}")

    assert "scoring-client version 1 registered; champion points at it" in said
    assert (out / "lgbm_final_model.pkl").exists()


def test_mlflow_run_train_only_writes_the_pickle(
    newcomer: dict[str, str], raw_tables: Path, tmp_path: Path
) -> None:
    out = tmp_path / "models"

    said = mlflow_run(newcomer, "-e", "train", "-P", f"data_dir={raw_tables}", "-P", f"out={out}")

    assert "registered" not in said
    assert sorted(path.suffix for path in out.iterdir()) == [".md", ".pkl"]
