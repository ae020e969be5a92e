"""What the tests of `python -m batch` share: files of clients, and the command in this process."""

import contextlib
import csv
import io
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from batch.__main__ import main
from mlflow_model.bundle import bundles
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import DecisionPolicy
from tests.conftest import FEATURES, random_clients

ID = "SK_ID_CURR"
COUNT = 300


def table(count: int = COUNT) -> pa.Table:
    """Clients between two columns that are no features."""
    rows = random_clients(count, seed=3)
    columns = {name: pa.array(rows[name].to_numpy(), from_pandas=True) for name in FEATURES}
    before = {ID: pa.array(range(100_001, 100_001 + count), pa.int64())}
    return pa.table({**before, **columns, "AGENCE": pa.array([f"Évry {n % 3}" for n in range(count)])})


TABLE = table()


def cells(rows: pa.Table) -> list[dict[str, str]]:
    return [
        {
            name: "" if value is None else value if isinstance(value, str) else repr(value)
            for name, value in row.items()
        }
        for row in rows.to_pylist()
    ]


def as_csv(rows: Sequence[Mapping[str, str]], delimiter: str = ",", end: str = "\r\n") -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_csv(rows: pa.Table, path: Path) -> None:
    path.write_bytes(as_csv(cells(rows)).encode())


def write_french(rows: pa.Table, path: Path) -> None:
    """As a French spreadsheet saves it, with an empty line below the last row."""
    numbers = [
        {name: cell if name == "AGENCE" else cell.replace(".", ",") for name, cell in row.items()}
        for row in cells(rows)
    ]
    empty = ";" * (len(rows.schema.names) - 1)
    path.write_bytes(f"\ufeff{as_csv(numbers, ';')}{empty}\r\n".encode())


def write_parquet(rows: pa.Table, path: Path) -> None:
    pq.write_table(rows, path, row_group_size=70)


def write_arrow(rows: pa.Table, path: Path) -> None:
    with pa.ipc.new_file(path, rows.schema) as file:
        file.write_table(rows, max_chunksize=70)


def write_stream(rows: pa.Table, path: Path) -> None:
    with pa.ipc.new_stream(path, rows.schema) as stream:
        stream.write_table(rows, max_chunksize=70)


WRITERS: Mapping[str, tuple[str, Callable[[pa.Table, Path], None]]] = {
    "Parquet": ("clients.parquet", write_parquet),
    "CSV": ("clients.csv", write_csv),
    "French CSV": ("clients.csv", write_french),
    "Arrow file": ("clients.arrow", write_arrow),
    "Arrow stream": ("clients.arrows", write_stream),
}


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of an output; of a CSV with its numbers as doubles, but for what it passes through."""
    if path.suffix == ".csv":
        lines = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
        texts = (ID, "AGENCE", "prediction")
        return [
            {name: cell if name in texts else float(cell) for name, cell in line.items()} for line in lines
        ]
    if path.suffix == ".arrow":
        return list(pa.ipc.open_file(path).read_all().to_pylist())
    if path.suffix == ".arrows":
        return list(pa.ipc.open_stream(path.read_bytes()).read_all().to_pylist())
    return list(pq.read_table(path).to_pylist())


def version_with(code: str, bundle: Bundle, folder: Path) -> Path:
    """The same trees with more code of the version's own."""
    text = bundle.files["model.txt"].decode()
    source = bundles.SCORING_SOURCE.read_bytes() + code.encode()
    policy = DecisionPolicy(0.25, 0.02)
    made = bundles.build(text, FEATURES, policy, source=bundle.source, scoring_source=source)
    made.write(folder)
    return folder


def batch(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`python -m batch score` in this process."""
    told = io.StringIO()
    with contextlib.redirect_stderr(told):
        try:
            code = main(["score", *map(str, arguments)])
        except SystemExit as refused:  # an option that is none
            code = int(str(refused.code))
    return subprocess.CompletedProcess([*map(str, arguments)], code, "", told.getvalue())


def command(*arguments: object) -> list[str]:
    """The same as a command line."""
    return [sys.executable, "-m", "batch", "score", *map(str, arguments)]


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
