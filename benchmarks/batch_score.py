"""`python -m benchmarks.batch_score`: what scoring a whole book costs, by the command and by others.

Clients of models/reference.parquet, repeated with noise so that all differ, in one Parquet file and one CSV.
Each contender is a process, in turn, once a round: its processor time and its peak of memory are what the
system tells of it. LightGBM has one thread. Of `Booster.predict` the call alone is counted, on values that
lie in memory already; all other contenders read the file and write decisions, their start included.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from benchmarks.markdown import table
from mlflow_model import command
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.handover import model_files

ROOT = Path(__file__).resolve().parents[1]
PICKLE = ROOT / "models" / "lgbm_final_model.pkl"
CLIENTS, MANY = 356_255, 3_000_000
NOISE = 1e-3
URI = "models:/scoring-client@champion"

_PYFUNC = """
import sys, mlflow, pandas
clients = pandas.read_parquet(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
decided = model.predict(clients.drop(columns="SK_ID_CURR"))
decided.insert(0, "SK_ID_CURR", clients["SK_ID_CURR"])
decided.to_parquet(sys.argv[3])
"""
_BOOSTER = """
import sys, time, lightgbm, numpy, pandas
matrix = pandas.read_parquet(sys.argv[1]).iloc[:, 1:].to_numpy()
booster = lightgbm.Booster(model_file=sys.argv[2])
start = time.process_time()
booster.predict(matrix)
print(time.process_time() - start)
"""
# A small process in between: Linux counts what a process had in memory before it became another program.
_LAUNCHER = """
import resource, subprocess, sys
code = subprocess.run([sys.executable, *sys.argv[1:]]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss, flush=True)
sys.exit(code)
"""


class Cost(NamedTuple):
    """Seconds of processor time, and megabytes at the peak."""

    seconds: float
    megabytes: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--many", action="store_true", help="3 million clients, too, once")
    parser.add_argument("--mlflow", action="store_true", help="`mlflow models predict`, too, once")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="book-") as place:
        print(_report(Path(place), options))


def _report(place: Path, options: argparse.Namespace) -> str:
    bundle, _ = model_files.convert(PICKLE)
    bundle.write(place / "bundle")
    (place / "model.txt").write_bytes(bundle.files["model.txt"])
    os.environ |= {"MLFLOW_TRACKING_URI": f"sqlite:///{place / 'mlflow.db'}", "JOURNAL_URL": "off"}
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}
    registered = [sys.executable, str(ROOT / "register.py"), "--pickle", str(PICKLE)]
    subprocess.run(registered, check=True, capture_output=True)  # noqa: S603 - our own command
    write_clients(bundle, CLIENTS, place / "book.parquet", place / "book.csv")
    contenders = _contenders(place)
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for _ in range(options.rounds):
        for name, asked in contenders.items():
            costs[name].append(_cost(asked))
    if options.mlflow:
        costs["`mlflow models predict`, CSV"] = [_cost(_mlflow_predict(place))]
    if options.many:
        write_clients(bundle, MANY, place / "book.parquet")
        costs[f"the command, {MANY:,} clients"] = [_cost(contenders[_COMMAND])]
    return _shown(costs)


_COMMAND, _ALONE = "the command, Parquet", "`Booster.predict`, the call alone"


def _contenders(place: Path) -> Mapping[str, Sequence[str]]:
    book, model = str(place / "book.parquet"), str(place / "bundle")
    return {
        _ALONE: ["-c", _BOOSTER, book, str(place / "model.txt")],
        _COMMAND: _scored(book, str(place / "o.parquet"), model),
        "the command, Parquet, version of the registry": _scored(book, str(place / "o.parquet"), URI),
        "the command, CSV": _scored(str(place / "book.csv"), str(place / "o.csv"), model),
        "`pyfunc.predict` in a process": ["-c", _PYFUNC, book, URI, str(place / "p.parquet")],
    }


def _scored(book: str, output: str, model: str) -> list[str]:
    return ["-m", "batch", "score", "--input", book, "--output", output, "--model", model]


def _mlflow_predict(place: Path) -> list[str]:
    """It refuses a column that is no feature, and integers."""
    rows = pq.read_table(place / "book.parquet").drop_columns(["SK_ID_CURR"])
    pyarrow.csv.write_csv(rows, place / "features.csv")
    places = ["--input-path", str(place / "features.csv"), "--output-path", str(place / "m.json")]
    options = ["--content-type", "csv", "--env-manager", "local"]
    return ["-m", "mlflow", "models", "predict", "--model-uri", URI, *options, *places]


def _cost(asked: Sequence[str]) -> Cost:
    """Of a process, with the processor time of its children. Memory is its own: its children have ended."""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-c", _LAUNCHER, *asked], stdout=subprocess.PIPE, stderr=said, text=True
        )
        told, _ = process.communicate()
        said.seek(0)
        complaint = said.read()
    if process.returncode:
        sys.exit(complaint)
    *answer, used = told.splitlines()
    seconds, kilobytes = map(float, used.split())
    return Cost(float(answer[-1]) if _BOOSTER in asked else seconds, kilobytes / 1024)


def write_clients(
    bundle: Bundle, count: int, parquet: Path, csv: Path | None = None, row_group: int = 122_880
) -> None:
    """Clients who all differ, with numbers from 100,001 on."""
    reference = pq.read_table(ROOT / "models" / "reference.parquet")
    generator = np.random.default_rng(0)
    drawn = generator.integers(0, len(reference), count)
    columns: dict[str, pa.Array] = {"SK_ID_CURR": pa.array(np.arange(100_001, 100_001 + count))}
    for name in bundle.scorer().features:
        values = reference[name].to_numpy().astype(np.float64)[drawn]
        columns[name] = pa.array(values * (1 + NOISE * generator.standard_normal(count)), from_pandas=True)
    pq.write_table(pa.table(columns), parquet, row_group_size=row_group)
    if csv is not None:
        pyarrow.csv.write_csv(pa.table(columns), csv)


def _shown(costs: Mapping[str, Sequence[Cost]]) -> str:
    alone = statistics.median(one.seconds for one in costs[_ALONE])
    rows = []
    for name, found in costs.items():
        seconds = sorted(one.seconds for one in found)
        middle = statistics.median(seconds)
        rows.append(
            [
                name,
                f"{middle:.2f} ({seconds[0]:.2f} to {seconds[-1]:.2f})",
                f"{middle / alone:.2f}",
                "-" if name == _ALONE else f"{max(one.megabytes for one in found):.0f}",
            ]
        )
    return table(["contender", "CPU s, median (all)", "of the call alone", "peak MB"], rows)


if __name__ == "__main__":
    command.begin("mlflow", "lightgbm", "pandas", "pyarrow")
    command.run(main)
