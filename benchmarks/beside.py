"""`python -m benchmarks.beside`: what /predict feels of explanations and of the largest batches beside it.

500 requests/s, evenly, at one worker with the shipped pickle; beside them explanations at 20 a second, or
batches that follow each other, one at a time, sent by a process of its own. Rounds are interleaved; medians
over the rounds are printed.
"""

import argparse
import itertools
import json
import multiprocessing
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks import batch_http, clients, explanations, load
from benchmarks.load import Load
from benchmarks.markdown import table
from mlflow_model import command
from mlflow_model.handover import model_files

RATE = 500
AIM = 1.5  # times the p99 of /predict beside nothing
TEXT_ROWS = 10_000
NOTHING = "nothing"

EXPLANATIONS = 20  # a second
EXPLAINED = 100  # clients who are not reliable, for whom all is searched


class Sent(NamedTuple):
    """What another process sends in turn, and how often a second at the most; 0: one after the other."""

    content_type: str
    bodies: Sequence[bytes]
    path: str = "/predict/batch"
    rate: float = 0.0


def report(rounds: int = 5, seconds: float = 6) -> str:
    """The table, as markdown."""
    scorer = model_files.convert(batch_http.PICKLE)[0].scorer()
    features = scorer.features
    decided = clients.bodies(clients.different(scorer))
    explained = clients.bodies(explanations.not_reliable(scorer, EXPLAINED))
    bodies = {
        f"{EXPLANATIONS} explanations/s": Sent("application/json", explained, "/explain", EXPLANATIONS),
        **_batches(features),
    }
    found: dict[str, list[Load]] = {name: [] for name in (NOTHING, *bodies)}
    taken: dict[str, list[float]] = {name: [] for name in bodies}
    with batch_http.server() as port:
        for _ in range(rounds):
            found[NOTHING].append(load.stream(port, "/predict", decided, RATE, seconds))
            for name, body in bodies.items():
                with _following_each_other(port, body) as batch_seconds:
                    found[name].append(load.stream(port, "/predict", decided, RATE, seconds))
                taken[name] += batch_seconds
    rows = [
        [name, _latencies(loads), _times(loads, found[NOTHING]), _errors(loads), _seconds(taken.get(name))]
        for name, loads in found.items()
    ]
    heads = [
        f"{RATE} requests/s beside",
        "ms: p50 / p99 / p99.9",
        f"p99, times that beside nothing (aim: at most {AIM:g})",
        "errors",
        "seconds each",
    ]
    return table(heads, rows)


def _batches(features: Sequence[str]) -> Mapping[str, Sent]:
    """As many clients as each format takes."""
    matrix = batch_http.clients(tuple(features))
    few = matrix[:TEXT_ROWS]
    return {
        f"batches of {len(matrix):,}, Arrow": Sent(
            batch_http.ARROW, [batch_http.stream(tuple(features), matrix)]
        ),
        f"batches of {TEXT_ROWS:,}, JSON": Sent("application/json", [_json(features, few)]),
        f"batches of {TEXT_ROWS:,}, CSV": Sent("text/csv", [_csv(features, few)]),
    }


def _json(features: Sequence[str], matrix: npt.NDArray[np.float64]) -> bytes:
    return json.dumps([dict(zip(features, row, strict=True)) for row in matrix.tolist()]).encode()


def _csv(features: Sequence[str], matrix: npt.NDArray[np.float64]) -> bytes:
    lines = [features, *(map(repr, row) for row in matrix.tolist())]
    return "".join(",".join(line) + "\n" for line in lines).encode()


@contextmanager
def _following_each_other(port: int, sent: Sent) -> Iterator[list[float]]:
    """Requests from another process until the end; then the list holds the seconds that each took."""
    seconds: list[float] = []
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_send, args=[theirs, port, sent], daemon=True)
    process.start()
    ours.recv()  # the first one is answered: from here on nothing has to start
    try:
        yield seconds
    finally:
        ours.send("enough")
        seconds += ours.recv()
        process.join()


def _send(connection: Connection, port: int, sent: Sent) -> None:
    seconds: list[float] = []
    pause = 1 / sent.rate if sent.rate else 0.0
    for body in itertools.cycle(sent.bodies):
        if connection.poll():
            break
        started = time.perf_counter()
        batch_http.posted(port, body, sent.content_type, sent.path)
        if not seconds:
            connection.send("answered")
        seconds.append(time.perf_counter() - started)
        time.sleep(max(0.0, pause - seconds[-1]))
    connection.send(seconds[1:])


def _latencies(loads: Sequence[Load]) -> str:
    p50, p99, p999 = (
        statistics.median(getattr(one, name) for one in loads) for name in ("p50", "p99", "p999")
    )
    worst = max(one.p99 for one in loads)
    return f"{p50:.3g} / {p99:.3g} (worst round {worst:.3g}) / {p999:.3g}"


def _times(loads: Sequence[Load], alone: Sequence[Load]) -> str:
    """The median of the rounds' ratios, and their middle half."""
    if loads is alone:
        return ""
    ratios = [one.p99 / other.p99 for one, other in zip(loads, alone, strict=True)]
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def _errors(loads: Sequence[Load]) -> str:
    return str(sum(one.errors for one in loads))


def _seconds(taken: Sequence[float] | None) -> str:
    return f"{statistics.median(taken):.3g}" if taken else ""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beside", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6, help="of each measurement (default: 6)")
    options = parser.parse_args(arguments)
    print(report(options.rounds, options.seconds))


if __name__ == "__main__":
    command.begin()
    command.run(main)
