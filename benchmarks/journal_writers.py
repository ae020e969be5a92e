"""`python -m benchmarks.journal_writers`: receipts written by one process, or by each worker for itself.

Several workers have a group of receipts each at the same time. Either one process writes all of them
together, as the service does, or each worker writes its own, and they take turns at the journal's lock. The
disk is that of this checkout; the arrangements follow each other in rounds, of which medians are printed.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from benchmarks.markdown import table
from journal import store
from journal.models import Model
from journal.receipt import Form
from journal.record import Entry
from journal.writer import Writer
from mlflow_model import command
from mlflow_model.processes import ROOT

_ON_THIS_DISK = ROOT / ".cache"  # which no commit takes up
WORKERS, GROUP, TURNS = 4, 8, 200
_MODEL = Model(
    *("benchmark", "1", "0" * 64, 0.2, 0.02, ("a", "b", "c")),
    tuple(f"X{number}" for number in range(17)),
    tuple(f"y{number}" for number in range(7)),
    "benchmark",
)


def report(rounds: int = 5) -> str:
    """The table, as markdown."""
    arrangements = {
        f"one process, groups of {WORKERS * GROUP}": 1,
        f"{WORKERS} processes, groups of {GROUP}": WORKERS,
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in arrangements}
    _ON_THIS_DISK.mkdir(exist_ok=True)
    for _ in range(rounds):
        for name, processes in arrangements.items():
            found[name].append(_measured(processes))
    rows = [
        [name, *(f"{statistics.median(values):,.3g}" for values in zip(*one, strict=True))]
        for name, one in found.items()
    ]
    return table(["", "receipts/s", "ms until a group is on the disk, p99"], rows)


def _measured(processes: int) -> tuple[float, float]:
    """Receipts a second, and the p99 of milliseconds of a group, over all processes."""
    with tempfile.TemporaryDirectory(dir=_ON_THIS_DISK, prefix="writers-") as scratch:
        variables = os.environ | {store.VARIABLE: f"sqlite:///{Path(scratch) / 'journal.db'}"}
        made = [sys.executable, "-m", "journal", "init"]
        subprocess.run(made, cwd=ROOT, env=variables, check=True, capture_output=True)  # noqa: S603 - our own
        size = str(WORKERS * GROUP // processes)
        writers = [
            subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-m", "benchmarks.journal_writers", "--group", size],
                cwd=ROOT,
                env=variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(processes)
        ]
        for one in writers:
            assert one.stdout is not None  # noqa: S101 - it is a pipe
            one.stdout.readline()  # it is ready
        started = time.perf_counter()
        for one in writers:
            assert one.stdin is not None  # noqa: S101 - it is a pipe
            one.stdin.write("\n")
            one.stdin.flush()
        taken = [float(word) for one in writers for word in one.communicate()[0].split()]
        return WORKERS * GROUP * TURNS / (time.perf_counter() - started), float(np.quantile(taken, 0.99))


def _write(size: int) -> None:
    """Groups of this size without a pause, from a line of the input on. Print what each took, in ms."""
    form, taken = Form(_MODEL, "predict"), []
    with closing(store.opened()) as journal, Writer(journal, "benchmark", "0") as writer:
        writer.append_entries([_receipt(form)])
        print("ready", flush=True)
        sys.stdin.readline()
        for _ in range(TURNS):
            group = [_receipt(form) for _ in range(size)]
            started = time.perf_counter()
            writer.append_entries(group)
            taken.append(1e3 * (time.perf_counter() - started))
        print(*taken)


def _receipt(form: Form) -> Entry:
    return form.entry(range(17), ["a", *range(6)], "benchmark")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.journal_writers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--group", type=int, help="write groups of this size once, to the journal of JOURNAL_URL"
    )
    options = parser.parse_args(arguments)
    if options.group:
        _write(options.group)
    else:
        print(report(options.rounds))


if __name__ == "__main__":
    command.run(main)
