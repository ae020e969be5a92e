"""The servers that are compared, each behind the same model and asked about the same clients in turn."""

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from benchmarks import clients, load
from benchmarks.load import Load
from mlflow_model.handover import model_files

ROOT = Path(__file__).resolve().parents[1]
PICKLE = ROOT / "models" / "lgbm_final_model.pkl"
PLAIN_FLASK = ROOT / "benchmarks" / "contenders" / "plain_flask.py"
BIN = Path(sys.executable).parent
PATIENCE = 60.0
_STILL, _STILL_SECONDS = 0.01, 2.0
_STILL_CPU, _STILL_CPU_SECONDS = 0.1, 0.3
_PINNED = ("taskset", "-c")

OURS, LANE, ASGI = (
    "this API",
    "a constant in this API's lane",
    "a constant by uvicorn's shortest ASGI function",
)
MLFLOW = "`mlflow models serve`"
EARLIER = "this API, earlier"
FLASK, GUNICORN = "plain Flask, development server", "plain Flask, gunicorn"


@dataclass(frozen=True)
class Contender:
    """How to start it with a port and a number of workers, and what to ask it."""

    name: str
    command: Callable[[int, int], list[str]]
    bodies: Sequence[bytes]  # sent in turn
    path: str = "/predict"
    variables: Mapping[str, str] = field(default_factory=dict)
    worker: str = ""  # what the command line of a process that answers has in it
    scales: bool = True
    checkout: Path = ROOT


def contenders(folder: Path, earlier: Path | None = None) -> list[Contender]:
    """`earlier`: another checkout of this project, to compare with; it comes last."""
    different = clients.different(model_files.convert(PICKLE)[0].scorer())
    bodies = clients.bodies(different)
    invocations = [json.dumps({"dataframe_records": [client]}).encode() for client in different]
    registry, plain = _registry(folder), {"PICKLE": str(PICKLE)}
    ours = Contender(OURS, _ours, bodies, variables=registry, worker="api.server.worker")
    others = []
    if earlier is not None:
        its_own = folder / "earlier"
        its_own.mkdir()
        others.append(
            replace(ours, name=EARLIER, variables=_registry(its_own, earlier), checkout=earlier.absolute())
        )
    return [
        ours,
        Contender(LANE, partial(_constant, "lane"), bodies),
        Contender(ASGI, partial(_constant, "asgi"), bodies),
        Contender(MLFLOW, _mlflow, invocations, "/invocations", registry, worker="mlflow.pyfunc"),
        Contender(GUNICORN, _gunicorn, bodies, variables=plain, worker="plain_flask:app"),
        Contender(FLASK, _flask, bodies, variables=plain, scales=False),
        *others,
    ]


def _ours(port: int, workers: int) -> list[str]:
    return [sys.executable, "api/app.py", "--port", str(port), "--workers", str(workers)]


def _mlflow(port: int, workers: int) -> list[str]:
    serve = [str(BIN / "mlflow"), "models", "serve", "-m", "models:/scoring-client@champion"]
    return [*serve, "--env-manager", "local", "--host", "127.0.0.1", "-p", str(port), "-w", str(workers)]


def _gunicorn(port: int, workers: int) -> list[str]:
    serve = [str(BIN / "gunicorn"), "--chdir", str(PLAIN_FLASK.parent), "plain_flask:app"]
    return [*serve, "--bind", f"127.0.0.1:{port}", "--workers", str(workers)]


def _flask(port: int, _: int) -> list[str]:
    return [sys.executable, str(PLAIN_FLASK), str(port)]


def _constant(kind: str, port: int, workers: int) -> list[str]:
    return [sys.executable, "-m", "benchmarks.contenders.constant", str(port), str(workers), kind]


def _registry(folder: Path, checkout: Path = ROOT) -> dict[str, str]:
    """A registry of its own, with the shipped model as champion."""
    variables = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "MODEL_CACHE": str(folder / "cache"),
    }
    subprocess.run(
        [sys.executable, "register.py", "--unless-champion"],
        cwd=checkout,
        env={**os.environ, **variables},
        check=True,
        capture_output=True,
    )
    return variables


# ---- Servers


@dataclass(frozen=True)
class Running:
    contender: Contender
    port: int
    pid: int
    took: float = 0.0

    def ask(self) -> int:
        """The status of the answer about one client, or 0 where nobody answers yet."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
            headers = {"Content-Type": "application/json"}
            try:
                connection.request("POST", self.contender.path, self.contender.bodies[0], headers)
                return connection.getresponse().status
            except (OSError, HTTPException):
                return 0

    def flood(self, connections: int, seconds: int, cores: set[int], delay: int = 0) -> Load:
        url = f"http://127.0.0.1:{self.port}{self.contender.path}"
        flooded = load.flood(url, self.contender.bodies, connections, seconds, cores, self.pid, delay)
        self._settle()
        return flooded

    def _settle(self) -> None:
        """Until it has worked off what wrk left behind, which would take the next one's time."""
        deadline = time.monotonic() + PATIENCE
        former = load.cpu_seconds(self.pid)
        while time.monotonic() < deadline:
            time.sleep(_STILL_CPU_SECONDS)
            now = load.cpu_seconds(self.pid)
            if now - former < _STILL_CPU * _STILL_CPU_SECONDS:
                return
            former = now

    def worker_megabytes(self) -> float:
        """PSS of a process that answers: the mean of them, or the largest where none is known by its name."""
        sizes = {pid: load.megabytes(pid) for pid in load.tree(self.pid)}
        named = [
            size for pid, size in sizes.items() if self._has(pid, self.contender.worker) and pid != self.pid
        ]
        return statistics.mean(named) if named else max(sizes.values())

    def megabytes(self) -> float:
        """PSS of all its processes together, once the start is over and the sum holds still."""
        former, found = 0.0, self._sum()
        deadline = time.monotonic() + PATIENCE
        while abs(found - former) > _STILL * found and time.monotonic() < deadline:
            time.sleep(_STILL_SECONDS)
            former, found = found, self._sum()
        return found

    def _sum(self) -> float:
        return sum(map(load.megabytes, load.tree(self.pid)))

    def _has(self, pid: int, part: str) -> bool:
        return bool(part) and part in Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


@contextmanager
def serving(contender: Contender, cores: set[int], workers: int = 1) -> Iterator[Running]:
    """The server as soon as it answers 200, and not a process of it afterwards."""
    port = _free_port()
    environment = {
        "JOURNAL_URL": "off",
        **os.environ,
        **contender.variables,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }
    environment["OMP_NUM_THREADS"] = "1"
    started = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603 - our own commands
        [*_PINNED, ",".join(map(str, sorted(cores))), *contender.command(port, workers)],
        cwd=contender.checkout,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        running = Running(contender, port, process.pid)
        _await(running, process)
        yield replace(running, took=time.perf_counter() - started)
    finally:
        descendants = load.tree(process.pid)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pid in descendants[1:]:
            _end(pid)


def _await(running: Running, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + PATIENCE
    while running.ask() != 200:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{running.contender.name} does not answer")
        time.sleep(0.005)


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def cores() -> tuple[set[int], set[int]]:
    """The servers' and the load's."""
    mine = sorted(os.sched_getaffinity(0))
    half = max(1, len(mine) // 2)
    return set(mine[:half]), set(mine[half:] or mine)
