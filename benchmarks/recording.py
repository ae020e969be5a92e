"""`python -m benchmarks.recording`: /predict with a journal beside /predict without, and the disk's fsync.

Both services have one worker and are measured in pairs, one right after the other and each first in turn. The
load runs on half of the cores; the services have all, as in earnest, or with --apart the other half, where
worker and writer may share one. The journal is a SQLite file beside this checkout: on this disk.
"""

import argparse
import functools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks import load
from benchmarks.load import Load
from benchmarks.markdown import table
from benchmarks.serving import OURS, Contender, Running, contenders, cores, serving
from mlflow_model import command

ROOT = Path(__file__).resolve().parents[1]
_ON_THIS_DISK = ROOT / ".cache"  # which no commit takes up
RATE = 500
AIMS = {1: None, 8: None, 32: 0.5, 200: 0.7}  # by connections: of the requests/s without a journal
TIMES_FSYNC = 3.0
_SYNCED, _PAGES = 300, 8192

Pairs = dict[int, list[tuple[Load, Load]]]


def report(pairs: int = 8, seconds: int = 2, *, is_apart: bool = False) -> str:
    """The tables, as markdown."""
    load.need_wrk()
    _ON_THIS_DISK.mkdir(exist_ok=True)
    fsync: list[float] = []
    flooded: Pairs = {connections: [] for connections in AIMS}
    streamed: list[tuple[Load, Load]] = []
    with tempfile.TemporaryDirectory(dir=_ON_THIS_DISK, prefix="recording-") as scratch, ExitStack() as stack:
        mine, theirs = cores()
        if not is_apart:
            mine |= theirs
        both = [stack.enter_context(serving(one, mine)) for one in _contenders(Path(scratch))]
        os.sched_setaffinity(0, theirs)  # this process asks at an even rate
        for number in tqdm(range(pairs), disable=None):
            fsync += _fsyncs(Path(scratch))
            for connections, found in flooded.items():
                flood = functools.partial(_flood, connections, seconds, theirs)
                found.append(_in_turn(both, number, flood))
            streamed.append(_in_turn(both, number, functools.partial(_stream, 2 * seconds)))
    return f"{_throughput(flooded)}\n\n{_latencies(streamed, fsync)}"


def _contenders(folder: Path) -> tuple[Contender, Contender]:
    (ours,) = (one for one in contenders(folder) if one.name == OURS)
    journal = {**ours.variables, "JOURNAL_URL": f"sqlite:///{folder / 'journal.db'}"}
    return replace(ours, name="without a journal"), replace(ours, name="with a journal", variables=journal)


def _in_turn(both: Sequence[Running], number: int, measure: Callable[[Running], Load]) -> tuple[Load, Load]:
    without, with_one = both
    if number % 2:
        return measure(without), measure(with_one)
    second = measure(with_one)
    return measure(without), second


def _flood(connections: int, seconds: int, theirs: set[int], one: Running) -> Load:
    return one.flood(connections, seconds, theirs)


def _stream(seconds: int, one: Running) -> Load:
    return load.stream(one.port, one.contender.path, one.contender.bodies, RATE, seconds)


def _fsyncs(folder: Path) -> list[float]:
    """Milliseconds that the disk takes for two pages at the end of a file, several times."""
    taken = []
    with (folder / "synced").open("wb", buffering=0) as file:
        for _ in range(_SYNCED):
            file.write(bytes(_PAGES))
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(1e3 * (time.perf_counter() - started))
    return taken


def _throughput(flooded: Pairs) -> str:
    rows = []
    for connections, pairs in flooded.items():
        ratios = [with_one.rate / without.rate for without, with_one in pairs]
        aim = AIMS[connections]
        low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        rows.append(
            [
                f"{connections}",
                *(f"{statistics.median(pair[place].rate for pair in pairs):,.0f}" for place in (0, 1)),
                f"{middle:.3g} ({low:.3g} to {high:.3g})",
                f"at least {aim:g}" if aim else "",
                *(f"{statistics.median(pair[place].cpu for pair in pairs):.0f}" for place in (0, 1)),
                str(sum(pair[1].errors for pair in pairs)),
            ]
        )
    heads = ["connections", "requests/s without a journal", "with one", "ratio (middle half)", "aim"]
    return table([*heads, "CPU µs/request without", "with", "errors with"], rows)


def _latencies(streamed: Sequence[tuple[Load, Load]], fsync: Sequence[float]) -> str:
    p50, p99 = np.quantile(fsync, [0.5, 0.99])
    rows = [["the disk's fdatasync of two pages", f"{p50:.3g}", f"{p99:.3g}", ""]]
    for place, name in enumerate(("without a journal", "with one")):
        middle, far = (
            statistics.median(getattr(pair[place], one) for pair in streamed) for one in ("p50", "p99")
        )
        aim = f"{far / p99:.3g} times the disk's p99 (aim: at most {TIMES_FSYNC:g})" if place else ""
        rows.append([f"/predict at {RATE} requests/s, {name}", f"{middle:.3g}", f"{far:.3g}", aim])
    return table(["ms", "p50", "p99", ""], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recording", description=__doc__)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=2, help="of each flood")
    parser.add_argument(
        "--apart", action="store_true", help="the services on cores that the load leaves alone"
    )
    options = parser.parse_args(arguments)
    print(report(options.pairs, options.seconds, is_apart=options.apart))


if __name__ == "__main__":
    command.run(main)
