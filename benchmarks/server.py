"""`python -m benchmarks.server`: requests per second, latency, start and memory, against other ways to serve.

The same model behind each, the documented request to each, in turns, on loopback. Half of the cores are the
servers', half the load's (wrk).
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from tqdm import tqdm

from benchmarks import load
from benchmarks.load import Load
from mlflow_model import legacy
from mlflow_model.features import example_client

ROOT = Path(__file__).resolve().parents[1]
PICKLE = ROOT / "models" / "lgbm_final_model.pkl"
PLAIN_FLASK = ROOT / "benchmarks" / "contenders" / "plain_flask.py"
BIN = Path(sys.executable).parent
CONNECTIONS = (1, 8, 32, 200)
RATE = 500
PATIENCE = 60.0
_PINNED = ("taskset", "-c")

OURS, LANE, ASGI = (
    "this API",
    "a constant in this API's lane",
    "a constant by uvicorn's shortest ASGI function",
)
MLFLOW = "`mlflow models serve`"
FLASK, GUNICORN = "plain Flask, development server", "plain Flask, gunicorn"


@dataclass(frozen=True)
class Contender:
    """How to start it with a port and a number of workers, and what to ask it."""

    name: str
    command: Callable[[int, int], list[str]]
    body: bytes
    path: str = "/predict"
    variables: Mapping[str, str] = field(default_factory=dict)
    worker: str = ""  # what the command line of a process that answers has in it
    scales: bool = True


def contenders(folder: Path) -> list[Contender]:
    client = example_client(_features())
    body = json.dumps(client).encode()
    invocation = json.dumps({"dataframe_records": [{k: float(v) for k, v in client.items()}]}).encode()
    python, registry = sys.executable, _registry(folder)
    return [
        Contender(
            OURS,
            lambda port, workers: [python, "api/app.py", "--port", str(port), "--workers", str(workers)],
            body,
            variables=registry,
            worker="api.worker",
        ),
        Contender(LANE, partial(_constant, "lane"), body),
        Contender(ASGI, partial(_constant, "asgi"), body),
        Contender(
            MLFLOW,
            lambda port, workers: [
                *(str(BIN / "mlflow"), "models", "serve", "-m", "models:/scoring-client@champion"),
                *("--env-manager", "local", "--host", "127.0.0.1", "-p", str(port), "-w", str(workers)),
            ],
            invocation,
            "/invocations",
            registry,
            worker="mlflow.pyfunc",
        ),
        Contender(
            GUNICORN,
            lambda port, workers: [
                *(str(BIN / "gunicorn"), "--chdir", str(PLAIN_FLASK.parent), "plain_flask:app"),
                *("--bind", f"127.0.0.1:{port}", "--workers", str(workers)),
            ],
            body,
            variables={"PICKLE": str(PICKLE)},
            worker="plain_flask:app",
        ),
        Contender(
            FLASK,
            lambda port, _: [python, str(PLAIN_FLASK), str(port)],
            body,
            variables={"PICKLE": str(PICKLE)},
            scales=False,
        ),
    ]


def _constant(kind: str, port: int, workers: int) -> list[str]:
    return [sys.executable, "-m", "benchmarks.contenders.constant", str(port), str(workers), kind]


def _features() -> tuple[str, ...]:
    return legacy.convert(PICKLE)[0].scorer().features


def _registry(folder: Path) -> dict[str, str]:
    """A registry of its own, with the shipped model as champion."""
    variables = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "MODEL_CACHE": str(folder / "cache"),
    }
    subprocess.run(
        [sys.executable, "register.py", "--unless-champion"],
        cwd=ROOT,
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
    started: float

    def ask(self) -> int:
        """The status of the documented request, or 0 where nobody answers yet."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
            headers = {"Content-Type": "application/json"}
            try:
                connection.request("POST", self.contender.path, self.contender.body, headers)
                return connection.getresponse().status
            except (OSError, HTTPException):
                return 0

    def flood(self, connections: int, seconds: int, cores: set[int], delay: int = 0) -> Load:
        url = f"http://127.0.0.1:{self.port}{self.contender.path}"
        return load.flood(url, self.contender.body, connections, seconds, cores, self.pid, delay)

    def worker_megabytes(self) -> float:
        """PSS of a process that answers: the mean of them, or the largest where none is known by its name."""
        sizes = {pid: load.megabytes(pid) for pid in load.tree(self.pid)}
        named = [size for pid, size in sizes.items() if self._is_worker(pid)]
        return statistics.mean(named) if named else max(sizes.values())

    def _is_worker(self, pid: int) -> bool:
        line = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
        return bool(self.contender.worker) and self.contender.worker in line and pid != self.pid


@contextmanager
def serving(contender: Contender, cores: set[int], workers: int = 1) -> Iterator[Running]:
    """The server as soon as it answers 200, and not a process of it afterwards."""
    port = _free_port()
    environment = {**os.environ, **contender.variables, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    environment["OMP_NUM_THREADS"] = "1"
    started = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603 - our own commands
        [*_PINNED, ",".join(map(str, sorted(cores))), *contender.command(port, workers)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        running = Running(contender, port, process.pid, started)
        _await(running, process)
        yield running
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


def _cores() -> tuple[set[int], set[int]]:
    """The servers' and the load's."""
    mine = sorted(os.sched_getaffinity(0))
    half = max(1, len(mine) // 2)
    return set(mine[:half]), set(mine[half:] or mine)


# ---- What is measured


@dataclass
class Measured:
    """By contender, and for the floods of one worker by the number of connections too."""

    floods: dict[tuple[str, int], list[Load]]
    all_floods: dict[str, list[Load]]
    streams: dict[str, list[Load]]
    starts: dict[str, list[float]]
    memory: dict[str, float]
    workers: int


def measure(folder: Path, rounds: int, seconds: int, starts: int, bar: tqdm) -> Measured:
    mine, theirs = _cores()
    everyone = contenders(folder)
    found = Measured({}, {}, {}, {}, {}, len(mine))
    with ExitStack() as stack:
        running = [stack.enter_context(serving(one, {min(mine)})) for one in everyone]
        for _ in range(rounds):
            for connections in CONNECTIONS:
                for one in running:
                    bar.update()
                    key = (one.contender.name, connections)
                    found.floods.setdefault(key, []).append(one.flood(connections, seconds, theirs))
            for one in running[:3]:
                bar.update()
                streamed = load.stream(one.port, one.contender.path, one.contender.body, RATE, 2 * seconds)
                found.streams.setdefault(one.contender.name, []).append(streamed)
        found.memory = {one.contender.name: one.worker_megabytes() for one in running}
    with ExitStack() as stack:
        running = [stack.enter_context(serving(one, mine, len(mine))) for one in everyone if one.scales]
        for _ in range(rounds):
            for one in running:
                bar.update()
                found.all_floods.setdefault(one.contender.name, []).append(one.flood(32, seconds, theirs))
    for number in range(starts):
        for name, contender in _starting(everyone, folder, number):
            bar.update()
            with serving(contender, mine) as started:
                found.starts.setdefault(name, []).append(time.perf_counter() - started.started)
    return found


COLD = f"{OURS}, without a copy in the cache"
WARM = f"{OURS}, from the verified copy"


def _starting(everyone: Sequence[Contender], folder: Path, number: int) -> Iterator[tuple[str, Contender]]:
    """Those whose start is measured; ours both with the copy of the last start and with an empty cache."""
    ours = everyone[0]
    yield WARM, ours
    empty = {**ours.variables, "MODEL_CACHE": str(folder / f"empty-{number}")}
    yield COLD, replace(ours, variables=empty)
    for one in everyone[3:]:
        yield one.name, one


# ---- What is reported


def report(rounds: int = 3, seconds: int = 3, starts: int = 5, plot: Path | None = None) -> str:
    """The tables, as markdown; the plot of requests per second, if it has a place."""
    load.need_wrk()
    steps = rounds * (len(CONNECTIONS) * 6 + 3 + 5) + starts * 5
    with tempfile.TemporaryDirectory() as scratch, tqdm(total=steps, unit=" runs", disable=None) as bar:
        found = measure(Path(scratch), rounds, seconds, starts, bar)
    if plot is not None:
        _draw(found, plot)
    tables = [
        _ratios(found),
        _rates(found),
        _latencies(found),
        _stream_table(found),
        _all(found),
        _starts(found),
    ]
    return "\n\n".join(tables)


def _rate(loads: Sequence[Load]) -> float:
    return statistics.median(one.rate for one in loads)


def _ratios(found: Measured) -> str:
    ours, rates = _rate(found.floods[OURS, 8]), {name: _rate(found.floods[name, 8]) for name in _names(found)}
    warm, cold = statistics.median(found.starts[WARM]), statistics.median(found.starts[COLD])
    theirs = statistics.median(found.starts[MLFLOW])
    p99 = {name: statistics.median(one.p99 for one in found.streams[name]) for name in (OURS, LANE, ASGI)}
    scaling = _rate(found.all_floods[OURS]) / _rate(found.floods[OURS, 32])
    rows = [
        (f"requests/s per worker, to {MLFLOW}", ours / rates[MLFLOW], "at least 200"),
        (f"requests/s per worker, to {GUNICORN}", ours / rates[GUNICORN], ""),
        (f"requests/s per worker, to {ASGI}", ours / rates[ASGI], "at least 0.85"),
        (f"requests/s per worker, to {LANE}", ours / rates[LANE], "at least 0.85"),
        (f"p99 at {RATE} requests/s, to {ASGI}", p99[OURS] / p99[ASGI], "at most 1.5"),
        (f"p99 at {RATE} requests/s, to {LANE}", p99[OURS] / p99[LANE], "at most 1.5"),
        (f"start from the verified copy, to {MLFLOW}", warm / theirs, "at most 0.067"),
        (f"start without a copy, to {MLFLOW}", cold / theirs, "at most 0.5"),
        (f"memory of a worker, to {MLFLOW}", found.memory[OURS] / found.memory[MLFLOW], "at most 0.125"),
        (f"requests/s of {found.workers} workers, to one", scaling, f"at least {0.9 * found.workers:g}"),
    ]
    lines = ["| ratio | measured | aim |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {name} | {value:.3g} | {aim} |" for name, value, aim in rows)])


def _names(found: Measured) -> list[str]:
    return list(dict.fromkeys(name for name, _ in found.floods))


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"{title}\n", f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _spread(values: Sequence[float], form: str = ",.0f") -> str:
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def _rates(found: Measured) -> str:
    heads = [
        "one worker, requests/s",
        *(f"{n} connections" for n in CONNECTIONS),
        "CPU µs/request",
        "MB (PSS)",
        "errors",
    ]
    rows = []
    for name in _names(found):
        every = [one for n in CONNECTIONS for one in found.floods[name, n]]
        cells = [_spread([one.rate for one in found.floods[name, n]]) for n in CONNECTIONS]
        cpu = statistics.median(one.cpu for one in found.floods[name, 8])
        errors = sum(one.errors for one in every)
        rows.append([name, *cells, f"{cpu:,.0f}", f"{found.memory[name]:.0f}", str(errors)])
    return _table("As hard as wrk can: medians of the rounds, and their range.", heads, rows)


def _latencies(found: Measured) -> str:
    heads = ["one worker, ms", *(f"{n} connections: p50 / p99 / p99.9" for n in CONNECTIONS)]
    rows = [[name, *(_percentiles(found.floods[name, n]) for n in CONNECTIONS)] for name in _names(found)]
    return _table("The latencies of the same runs.", heads, rows)


def _percentiles(loads: Sequence[Load]) -> str:
    return " / ".join(
        f"{statistics.median(getattr(one, at) for one in loads):.3g}" for at in ("p50", "p99", "p999")
    )


def _stream_table(found: Measured) -> str:
    rows = [
        [name, _percentiles(loads), str(sum(one.errors for one in loads))]
        for name, loads in found.streams.items()
    ]
    title = f"An even stream of {RATE} requests/s; latency from when each was due. The others cannot follow."
    return _table(title, ["one worker", "ms: p50 / p99 / p99.9", "errors"], rows)


def _all(found: Measured) -> str:
    rows = [
        [
            name,
            _spread([one.rate for one in loads]),
            _percentiles(loads),
            str(sum(one.errors for one in loads)),
        ]
        for name, loads in found.all_floods.items()
    ]
    heads = [f"{found.workers} workers, 32 connections", "requests/s", "ms: p50 / p99 / p99.9", "errors"]
    return _table("All the cores that servers have in this benchmark.", heads, rows)


def _starts(found: Measured) -> str:
    rows = [[name, _spread(seconds, ".2f")] for name, seconds in found.starts.items()]
    return _table("From the start of the process to its first 200.", ["start", "seconds"], rows)


def _draw(found: Measured, place: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "server"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for name in _names(found):
        rates = [_rate(found.floods[name, n]) for n in CONNECTIONS]
        axes.plot(CONNECTIONS, rates, marker="o", label=name.replace("`", ""))
    axes.set(xscale="log", yscale="log", xlabel="connections", ylabel="requests per second, one worker")
    axes.set_xticks(CONNECTIONS, [str(n) for n in CONNECTIONS])
    axes.grid(visible=True, which="both", alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small")
    figure.savefig(place, metadata={"Date": None})
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="(default: 3)")
    parser.add_argument("--seconds", type=int, default=3, help="of each flood (default: 3)")
    parser.add_argument("--starts", type=int, default=5, help="(default: 5)")
    parser.add_argument("--plot", type=Path, help="an SVG file for the plot")
    options = parser.parse_args(arguments)
    print(report(options.rounds, options.seconds, options.starts, options.plot))


if __name__ == "__main__":
    main()
