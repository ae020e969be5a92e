"""`python -m benchmarks.server`: requests per second, latency, start and memory, against other ways to serve.

The same model behind each, the same 1,000 clients to each, in turns, on loopback. Half of the cores are the
servers', half the load's (wrk).
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from benchmarks import clients, load
from benchmarks.load import Load
from benchmarks.markdown import table
from benchmarks.serving import (
    ASGI,
    GUNICORN,
    LANE,
    MLFLOW,
    OURS,
    Contender,
    Running,
    contenders,
    cores,
    serving,
)
from mlflow_model import command

CONNECTIONS = (1, 8, 32, 200)
FREE = 4  # the first so many contenders are measured without cores of their own, too
RATE = 500
REPEATED = "this API, one client again and again"


# ---- What is measured


@dataclass
class Measured:
    """By contender, and for the floods of one worker by the number of connections too."""

    floods: dict[tuple[str, int], list[Load]]
    free_floods: dict[str, list[Load]]
    all_floods: dict[str, list[Load]]
    streams: dict[str, list[Load]]
    starts: dict[str, list[float]]
    worker_memory: dict[str, list[float]]
    memory: dict[str, list[float]]
    workers: int


def measure(folder: Path, rounds: int, seconds: int, starts: int, bar: tqdm) -> Measured:
    mine, theirs = cores()
    everyone = contenders(folder)
    found = Measured({}, {}, {}, {}, {}, {}, {}, len(mine))
    with ExitStack() as stack:
        running = [stack.enter_context(serving(one, {min(mine)})) for one in everyone]
        running.append(_repeating(running[0]))
        for _ in range(rounds):
            for connections in CONNECTIONS:
                for one in running:
                    bar.update()
                    key = (one.contender.name, connections)
                    found.floods.setdefault(key, []).append(one.flood(connections, seconds, theirs))
            for one in running[:3]:
                bar.update()
                streamed = load.stream(one.port, one.contender.path, one.contender.bodies, RATE, 2 * seconds)
                found.streams.setdefault(one.contender.name, []).append(streamed)
    with ExitStack() as stack:
        running = [stack.enter_context(serving(one, mine | theirs)) for one in everyone[:FREE]]
        for _ in range(rounds):
            for one in running:
                bar.update()
                flooded = one.flood(8, seconds, mine | theirs)
                found.free_floods.setdefault(one.contender.name, []).append(flooded)
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
                found.starts.setdefault(name, []).append(started.took)
                started.flood(8, 1, theirs)
                found.worker_memory.setdefault(name, []).append(started.worker_megabytes())
                found.memory.setdefault(name, []).append(started.megabytes())
    return found


def _repeating(ours: Running) -> Running:
    """The same service, asked about one client alone."""
    return replace(ours, contender=replace(ours.contender, name=REPEATED, bodies=ours.contender.bodies[:1]))


def _cold(name: str) -> str:
    return f"{name}, without a copy in the cache"


def _warm(name: str) -> str:
    return f"{name}, from the verified copy"


COLD, WARM = _cold(OURS), _warm(OURS)


def _starting(everyone: Sequence[Contender], folder: Path, number: int) -> Iterator[tuple[str, Contender]]:
    """Those whose start is measured; ours both with the copy of the last start and with an empty cache."""
    for one in everyone:
        if one.name == OURS:
            yield _warm(one.name), one
            empty = {**one.variables, "MODEL_CACHE": str(folder / f"empty-{number}")}
            yield _cold(one.name), replace(one, variables=empty)
        elif one.name not in (LANE, ASGI):
            yield one.name, one


# ---- What is reported


def report(
    rounds: int = 3,
    seconds: int = 3,
    starts: int = 5,
    plot: Path | None = None,
) -> str:
    """The tables, as markdown; the plot of requests per second, if it has a place."""
    load.need_wrk()
    steps = rounds * (len(CONNECTIONS) * 7 + 3 + FREE + 5) + starts * 5
    with tempfile.TemporaryDirectory() as scratch, tqdm(total=steps, unit=" runs", disable=None) as bar:
        found = measure(Path(scratch), rounds, seconds, starts, bar)
    if plot is not None:
        _draw(found, plot)
    tables = [
        _ratios(found),
        _rates(found),
        _latencies(found),
        _stream_table(found),
        _loads(found.free_floods, _FREELY, "one worker, 8 connections"),
        _loads(found.all_floods, _ALL_CORES, f"{found.workers} workers, 32 connections"),
        _starts(found),
    ]
    return "\n\n".join(tables)


_INTRODUCTION = (
    "As hard as wrk can: medians of the rounds, and their range. All are asked about the same "
    f"{clients.COUNT:,} clients in turn, but for the last row: what the figures until 2026-11-26 were of."
)


def _rate(loads: Sequence[Load]) -> float:
    return statistics.median(one.rate for one in loads)


def _ratios(found: Measured) -> str:
    """Round by round, and the median of them: a machine's speed changes from one minute to the next."""
    rates = {name: [one.rate for one in found.floods[name, 8]] for name in _names(found)}
    free = {name: [one.rate for one in loads] for name, loads in found.free_floods.items()}
    p99 = {name: [one.p99 for one in loads] for name, loads in found.streams.items()}
    one_worker = [one.rate for one in found.floods[OURS, 32]]
    all_workers = [one.rate for one in found.all_floods[OURS]]
    starts, workers, memory = found.starts, found.worker_memory, found.memory
    rows = [
        (f"requests/s per worker, to {MLFLOW}", rates[OURS], rates[MLFLOW], "at least 200"),
        (
            f"requests/s per worker that may use every core, to {MLFLOW}",
            free[OURS],
            free[MLFLOW],
            "at least 200",
        ),
        (f"requests/s per worker, to {GUNICORN}", rates[OURS], rates[GUNICORN], ""),
        (f"requests/s per worker, to {ASGI}", rates[OURS], rates[ASGI], "at least 0.85"),
        (f"requests/s per worker, to {LANE}", rates[OURS], rates[LANE], "at least 0.85"),
        (f"p99 at {RATE} requests/s, to {ASGI}", p99[OURS], p99[ASGI], "at most 1.5"),
        (f"p99 at {RATE} requests/s, to {LANE}", p99[OURS], p99[LANE], "at most 1.5"),
        (f"start from the verified copy, to {MLFLOW}", starts[WARM], starts[MLFLOW], "at most 0.067"),
        (f"start without a copy, to {MLFLOW}", starts[COLD], starts[MLFLOW], "at most 0.5"),
        (f"memory of a worker, to {MLFLOW} with one", workers[WARM], memory[MLFLOW], "at most 0.125"),
        (f"memory of a worker, to one of {MLFLOW}", workers[WARM], workers[MLFLOW], ""),
        (f"memory of all processes, to {MLFLOW}", memory[WARM], memory[MLFLOW], ""),
    ]
    if found.workers > 1:
        aim = f"at least {0.9 * found.workers:g}"
        rows.append((f"requests/s of {found.workers} workers, to one", all_workers, one_worker, aim))
    cells = [[name, f"{_median_ratio(ours, theirs):.3g}", aim] for name, ours, theirs, aim in rows]
    return table(["ratio", "measured", "aim"], cells)


def _median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return statistics.median(mine / its for mine, its in zip(ours, theirs, strict=True))


def _names(found: Measured) -> list[str]:
    return list(dict.fromkeys(name for name, _ in found.floods))


def _spread(values: Sequence[float], form: str = ",.0f") -> str:
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def _rates(found: Measured) -> str:
    heads = [
        "one worker, requests/s",
        *(f"{n} connections" for n in CONNECTIONS),
        "CPU µs/request",
        "errors",
    ]
    rows = []
    for name in _names(found):
        every = [one for n in CONNECTIONS for one in found.floods[name, n]]
        cells = [_spread([one.rate for one in found.floods[name, n]]) for n in CONNECTIONS]
        cpu = statistics.median(one.cpu for one in found.floods[name, 8])
        errors = sum(one.errors for one in every)
        rows.append([name, *cells, f"{cpu:,.0f}", str(errors)])
    return f"{_INTRODUCTION}\n\n{table(heads, rows)}"


def _latencies(found: Measured) -> str:
    heads = ["one worker, ms", *(f"{n} connections: p50 / p99 / p99.9" for n in CONNECTIONS)]
    rows = [[name, *(_percentiles(found.floods[name, n]) for n in CONNECTIONS)] for name in _names(found)]
    return f"The latencies of the same runs.\n\n{table(heads, rows)}"


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
    heads = ["one worker", "ms: p50 / p99 / p99.9", "errors"]
    return f"{title}\n\n{table(heads, rows)}"


_FREELY = "Nothing has a core of its own: server and load share the machine, as where one is just started."
_ALL_CORES = "All the cores that servers have in this benchmark."


def _loads(floods: Mapping[str, Sequence[Load]], title: str, what: str) -> str:
    rows = [
        [
            name,
            _spread([one.rate for one in loads]),
            _percentiles(loads),
            str(sum(one.errors for one in loads)),
        ]
        for name, loads in floods.items()
    ]
    return f"{title}\n\n{table([what, 'requests/s', 'ms: p50 / p99 / p99.9', 'errors'], rows)}"


def _starts(found: Measured) -> str:
    rows = [
        [name, _spread(seconds, ".2f"), _spread(found.worker_memory[name]), _spread(found.memory[name])]
        for name, seconds in found.starts.items()
    ]
    heads = ["start, one worker", "seconds", "MB of a process that answers (PSS)", "MB of all its processes"]
    title = "From the start of the process to its first 200, and its memory after a second of load, alone."
    return f"{title}\n\n{table(heads, rows)}"


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
    command.begin()
    command.run(main)
