"""`python -m benchmarks batch_score`: what scoring a whole book costs, by the command and by others.

Clients of models/reference.parquet, repeated with noise so that all differ, in one Parquet file and one CSV.
Each contender is a process, in turn, once a round: its processor time and its peak of memory are what the
system tells of it. LightGBM has one thread. Of `lightgbm.Booster.predict` the call alone is counted, on
values that lie in memory already; all others read the file and write decisions, their start included.
"""

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
from tqdm import tqdm

from benchmarks.markdown import table
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.handover import model_files

ROOT = Path(__file__).resolve().parents[1]
PICKLE = ROOT / "models" / "lgbm_final_model.pkl"
CLIENTS, MANY = 356_255, 3_000_000
EXPLAINED, REASONS = 10_000, 4
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


def report(rounds: int = 3) -> str:
    """The tables, as markdown."""
    with tempfile.TemporaryDirectory(prefix="book-") as place:
        return _report(Path(place), rounds)


def _report(place: Path, rounds: int) -> str:
    bundle, _ = model_files.convert(PICKLE)
    bundle.write(place / "bundle")
    (place / "model.txt").write_bytes(bundle.files["model.txt"])
    environment = {**os.environ, **_surroundings(place)}
    registered = [sys.executable, str(ROOT / "register.py"), "--pickle", str(PICKLE)]
    subprocess.run(registered, env=environment, check=True, capture_output=True)  # noqa: S603 - our own command
    write_clients(bundle, CLIENTS, place / "book.parquet", place / "book.csv")
    contenders = _contenders(place)
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for _ in tqdm(range(rounds), unit=" rounds", disable=None):
        for name, asked in contenders.items():
            costs[name].append(_cost(asked, environment))
    write_clients(bundle, EXPLAINED, place / "few.parquet")
    for _ in range(rounds):
        for name, more in ((_FEW, []), (_EXPLAINED, ["--explain", str(REASONS)])):
            asked = [
                *_scored(str(place / "few.parquet"), str(place / "f.parquet"), str(place / "bundle")),
                *more,
            ]
            costs.setdefault(name, []).append(_cost(asked, environment))
    costs[_MLFLOW] = [_cost(_mlflow_predict(place), environment)]
    write_clients(bundle, MANY, place / "book.parquet")
    costs[_MANY] = [_cost(contenders[_COMMAND], environment)]
    return f"{_introduction(rounds)}\n\n{_ratios(costs)}\n\n{_shown(costs)}"


def _surroundings(place: Path) -> dict[str, str]:
    return {
        "MLFLOW_TRACKING_URI": f"sqlite:///{place / 'mlflow.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "JOURNAL_URL": "off",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }


def _introduction(rounds: int) -> str:
    return (
        f"{CLIENTS:,} clients of whom no two are the same; {rounds} rounds of processes, in turn; the last "
        "two once. LightGBM has one thread, and the command all cores."
    )


_COMMAND, _CSV, _ALONE = "the command, Parquet", "the command, CSV", "LightGBM's `predict`, the call alone"
_PYFUNC_NAME, _MLFLOW = "`mlflow.pyfunc` in a process", "`mlflow models predict`, CSV"
_FEW = f"the command, {EXPLAINED:,} clients"
_EXPLAINED = f"{_FEW}, --explain {REASONS}"
_MANY = f"the command, {MANY:,} clients"


def _contenders(place: Path) -> Mapping[str, Sequence[str]]:
    book, model = str(place / "book.parquet"), str(place / "bundle")
    return {
        _ALONE: ["-c", _BOOSTER, book, str(place / "model.txt")],
        _COMMAND: _scored(book, str(place / "o.parquet"), model),
        "the command, Parquet, version of the registry": _scored(book, str(place / "o.parquet"), URI),
        _CSV: _scored(str(place / "book.csv"), str(place / "o.csv"), model),
        _PYFUNC_NAME: ["-c", _PYFUNC, book, URI, str(place / "p.parquet")],
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


def _cost(asked: Sequence[str], environment: Mapping[str, str]) -> Cost:
    """Of a process, with the processor time of its children. Memory is its own: its children have ended."""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-c", _LAUNCHER, *asked],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
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


def _ratios(costs: Mapping[str, Sequence[Cost]]) -> str:
    seconds = {name: statistics.median(one.seconds for one in found) for name, found in costs.items()}
    megabytes = {name: max(one.megabytes for one in found) for name, found in costs.items()}
    ours = seconds[_COMMAND]
    rows = [
        (f"CPU s of the command, to {_ALONE}", ours / seconds[_ALONE], 0.5),
        ("the same from CSV into CSV", seconds[_CSV] / seconds[_ALONE], 1),
        (f"CPU s of the command, to {_PYFUNC_NAME}", ours / seconds[_PYFUNC_NAME], 0.3),
        (f"CPU s of the command, to {_MLFLOW}", ours / seconds[_MLFLOW], 0.12),
        ("peak MB of the command", megabytes[_COMMAND], 220),
        (f"peak MB at {MANY:,} clients, to that", megabytes[_MANY] / megabytes[_COMMAND], 1.1),
        (
            f"CPU ms a client of --explain {REASONS}",
            1e3 * (seconds[_EXPLAINED] - seconds[_FEW]) / EXPLAINED,
            1,
        ),
    ]
    return table(
        ["ratio", "measured", "aim"],
        [[name, f"{found:.3g}", f"at most {aim:g}"] for name, found, aim in rows],
    )


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
