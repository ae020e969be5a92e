"""`python -m benchmarks.journal`: what a journal of many receipts costs, in SQLite.

The shipped model's answers to drawn clients are appended in groups, then verified and replayed. Each part has
a process of its own, whose memory is compared with that for a journal a quarter as long. The model comes from
the shipped pickle, so that no registry is counted.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import memory
from benchmarks.explanations import PICKLE
from benchmarks.markdown import table
from journal import listing, models, replay, store, verification
from journal.receipt import Receipt
from journal.writer import Writer
from mlflow_model import command
from mlflow_model.bundle.scoring import Scorer
from mlflow_model.handover import model_files
from mlflow_model.processes import ROOT
from quality.portfolio import Portfolio

RECEIPTS = 200_000
GROUP = 2_000
AIMS = {"verify": "at least 50,000", "replay": "at least 50,000"}


class Cost(NamedTuple):
    """Of one part: seconds, processor seconds, and megabytes at the most."""

    seconds: float
    processor: float
    megabytes: float


def report(receipts: int = RECEIPTS) -> str:
    """The table, as markdown."""
    quarter, whole = _costs(receipts // 4), _costs(receipts)
    rows = [
        [
            part,
            f"{receipts / cost.seconds:,.0f}",
            AIMS.get(part, ""),
            f"{1e6 * cost.processor / receipts:.1f}",
            f"{quarter.costs[part].megabytes:,.0f}",
            f"{cost.megabytes:,.0f}",
        ]
        for part, cost in whole.costs.items()
    ]
    heads = ["", "receipts/s", "aim", "processor µs/receipt", "MB, a quarter of them", "MB, all of them"]
    load = os.getloadavg()[0]
    return (
        f"{receipts:,} receipts in groups of {GROUP:,}: {whole.size / receipts:.0f} bytes a receipt in the "
        f"database's file. At the end {load:.1f} processes wanted a core.\n\n{table(heads, rows)}"
    )


class _Costs(NamedTuple):
    size: int
    costs: dict[str, Cost]


def _costs(receipts: int) -> _Costs:
    """Of a new journal with so many receipts."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "journal.db"
        costs = {part: _measured(part, file, receipts) for part in PARTS}
        return _Costs(file.stat().st_size, costs)


def _measured(part: str, file: Path, receipts: int) -> Cost:
    """Of a process of its own."""
    own = [sys.executable, "-m", "benchmarks.journal", "--part", part, "--receipts", str(receipts)]
    variables = os.environ | {store.VARIABLE: f"sqlite:///{file}", "OMP_NUM_THREADS": "1"}
    said = subprocess.run(  # noqa: S603 - ourselves
        own, cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True, check=True
    )
    return Cost(*map(float, said.stdout.split()))


# ---- The parts


def _append(receipts: int) -> Iterator[None]:
    scorer = _scorer()
    clients = _clients(scorer)
    model = models.of_scorer(scorer, "scoring-client", "1", "ab" * 32, "0")
    with closing(store.make()[0]) as journal, Writer(journal, "benchmark", "0") as writer:
        for start in range(0, receipts, GROUP):
            chosen = clients[np.arange(start, min(start + GROUP, receipts)) % len(clients)]
            group = _decided(scorer, model, chosen)
            yield
            writer.append(group)
            yield


def _decided(scorer: Scorer, model: models.Model, clients: "np.ndarray") -> list[Receipt]:
    answers = scorer.decide_table(dict(zip(scorer.features, clients.T, strict=True))).values()
    outputs = zip(*(column.tolist() for column in answers), strict=True)
    return [
        Receipt(model=model, inputs=inputs, outputs=output, door="/predict/batch", request_id="benchmark")
        for inputs, output in zip(clients.tolist(), outputs, strict=True)
    ]


def _verify(receipts: int) -> Iterator[None]:
    with closing(store.opened()) as journal, journal.reading() as connection:
        yield
        found = verification.verify(connection)
        yield
    if found.count or found.receipts != receipts:
        raise SystemExit(f"verify: {found}")


def _replay(receipts: int) -> Iterator[None]:
    scorer = _scorer()
    with closing(store.opened()) as journal, journal.reading() as connection:
        yield
        found = replay.replay(connection, listing.Wanted(), None, lambda model: scorer, lambda count: None)
        yield
    if found.same != receipts:
        raise SystemExit(f"replay: {found}")


PARTS: dict[str, Callable[[int], Iterator[None]]] = {
    "append": _append,
    "verify": _verify,
    "replay": _replay,
}


def _run_once(part: str, receipts: int) -> None:
    """What lies between a part's first and second stop counts, between its third and fourth, and so on."""
    seconds = processor = 0.0
    stops = PARTS[part](receipts)
    for _ in stops:
        clock, own = time.perf_counter(), time.process_time()
        next(stops)
        seconds += time.perf_counter() - clock
        processor += time.process_time() - own
    print(seconds, processor, memory.peak_mib())


def _scorer() -> Scorer:
    return model_files.convert(PICKLE)[0].scorer()


def _clients(scorer: Scorer) -> "np.ndarray":
    """The reference clients whom the model accepts, as rows."""
    columns = Portfolio.read().columns
    matrix = np.column_stack([columns[name] for name in scorer.features])
    known = [name not in scorer.nullable for name in scorer.features]
    return matrix[~np.isnan(matrix[:, known]).any(axis=1)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.journal", description=__doc__)
    parser.add_argument("--receipts", type=int, default=RECEIPTS, help="(default: %(default)s)")
    parser.add_argument("--part", choices=PARTS, help="run this one once, in the journal of JOURNAL_URL")
    options = parser.parse_args(arguments)
    if options.part:
        _run_once(options.part, options.receipts)
    else:
        print(report(options.receipts))
    return 0


if __name__ == "__main__":
    command.begin()
    command.run(main)
