"""`python -m benchmarks.many_rows`: what scoring a client costs when many are scored at once.

The shipped model, different clients in every call, one thread, every contender in each round, in turn: the
booster's own predict call, the scorer of the last bundle format without leaf masks, and today's.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import lightgbm
import numpy as np
import numpy.typing as npt

from benchmarks import batch_http
from benchmarks.markdown import table
from mlflow_model import command
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import LEAF_MASKS, Scorer
from mlflow_model.handover import model_files

ROOT = Path(__file__).resolve().parents[1]
PICKLE = ROOT / "models" / "lgbm_final_model.pkl"
CODE_OF_FORMAT_2 = ROOT / "tests" / "versions" / "of_format_2" / "artifacts" / "bundle" / "scoring.py"
SIZES = (1, 5, 32, 1_000, 100_000)
FEWEST_CLIENTS = 1_000  # different ones: LightGBM is twice as fast on the same few again and again
SHARE_MISSING = 0.2

Matrix = npt.NDArray[np.float64]
Contender = Callable[[Matrix], Any]


def report(rounds: int = 7) -> str:
    """The table, as markdown."""
    bundle, _ = model_files.convert(PICKLE)
    after, before = bundle.scorer(), _of_format_2(bundle).scorer()
    booster = lightgbm.Booster(model_str=bundle.files["model.txt"].decode())
    contenders: dict[str, Contender] = {
        "Booster.predict": booster.predict,
        "scores, format 2": before.probabilities,
        "scores": after.probabilities,
        "decisions of columns, format 2": lambda matrix: before.decide_table(_columns(before, matrix)),
        "decisions of columns": lambda matrix: after.decide_table(_columns(after, matrix)),
    }
    clients = _clients(after)
    if not np.array_equal(after.probabilities(clients), booster.predict(clients)):
        sys.exit("the two do not agree")
    heads = ["CPU µs a client, median (middle half)", *(f"{size:,} at once" for size in SIZES), "share"]
    found = {size: _measured(contenders, clients, size, rounds) for size in SIZES}
    rows = []
    for name in contenders:
        largest = statistics.median(found[SIZES[-1]][name])
        share = largest / statistics.median(found[SIZES[-1]]["Booster.predict"])
        rows.append([name, *(_told(found[size][name]) for size in SIZES), f"{share:.2f}"])
    return f"{_introduction(rounds)}\n\n{table(heads, rows)}"


def main() -> None:
    print(report())


def _introduction(rounds: int) -> str:
    return (
        f"{rounds} rounds, one thread, other clients in every call of a round, {SHARE_MISSING:.0%} of the "
        "values missing where that was learnt. The last column is the share of the booster's call at "
        f"{SIZES[-1]:,} clients."
    )


def _of_format_2(bundle: Bundle) -> Bundle:
    """The same model with the code of before."""
    files = {name: content for name, content in bundle.files.items() if name != LEAF_MASKS}
    return Bundle(files | {"scoring.py": CODE_OF_FORMAT_2.read_bytes()}, bundle.manifest)


def _clients(scorer: Scorer) -> Matrix:
    matrix = batch_http.clients(scorer.features)
    generator = np.random.default_rng(1)
    for place, name in enumerate(scorer.features):
        if name in scorer.nullable:
            matrix[generator.random(len(matrix)) < SHARE_MISSING, place] = np.nan
    return matrix


def _columns(scorer: Scorer, matrix: Matrix) -> dict[str, Matrix]:
    return dict(zip(scorer.features, matrix.T, strict=True))


def _measured(
    contenders: dict[str, Contender], clients: Matrix, size: int, rounds: int
) -> dict[str, list[float]]:
    """Microseconds of processor time a client, sorted, by contender."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    count = max(1, FEWEST_CLIENTS // size)
    tables = [clients[place * size : (place + 1) * size] for place in range(count)]
    for _ in range(rounds):
        for name, contender in contenders.items():
            start = time.process_time()
            for matrix in tables:
                contender(matrix)
            times[name].append((time.process_time() - start) / (count * size) * 1e6)
    return {name: sorted(found) for name, found in times.items()}


def _told(times: Sequence[float]) -> str:
    quarter = len(times) // 4
    return f"{statistics.median(times):.3g} ({times[quarter]:.3g} to {times[-1 - quarter]:.3g})"


if __name__ == "__main__":
    command.begin()
    command.run(main)
