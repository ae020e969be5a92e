"""Writes a drawn portfolio, and how to draw it again, into a folder that appears whole or not at all."""

import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from pyarrow import csv, parquet
from tqdm import tqdm

from features.raw_tables import BadTable
from training.synthetic import chunks
from training.synthetic.calibration import Calibration
from training.synthetic.chunks import TABLES

FORMATS = ("parquet", "csv")
DESCRIPTION = "portfolio.json"


class FolderTaken(OSError):
    def __init__(self, folder: Path, way_out: str) -> None:
        super().__init__(f"{folder} is not an empty folder: {way_out}")


def write_portfolio(
    clients: int,
    seed: int,
    out: Path,
    file_format: str = "parquet",
    progress: bool = False,
    force: bool = False,
) -> None:
    """Write a portfolio of `clients` labelled clients as the folder `out`, whole or not at all.

    `force` replaces a portfolio that is already there. Raises FolderTaken, or OSError, as for a full disk.
    """
    out = out.resolve()
    _check_free(out, force)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        new = Path(scratch) / "new"
        new.mkdir()
        _write_files(new, clients, seed, file_format, progress)
        if out.exists():
            out.rename(Path(scratch) / "old")
        new.rename(out)


def _check_free(out: Path, force: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not _is_portfolio(out):
        raise FolderTaken(out, "choose another --out")
    if not force:
        raise FolderTaken(out, "choose another --out, or replace the portfolio in it with --force")


def _is_portfolio(folder: Path) -> bool:
    """Whether the folder holds only what this command writes: replacing it then loses nothing else."""
    written = {DESCRIPTION, *(f"{table}.{suffix}" for table in TABLES for suffix in FORMATS)}
    return (folder / DESCRIPTION).is_file() and {entry.name for entry in folder.iterdir()} <= written


def _write_files(folder: Path, clients: int, seed: int, file_format: str, progress: bool) -> None:
    calibration = Calibration.read()
    description = {
        "clients": clients,
        "seed": seed,
        "format": file_format,
        "calibration_sha256": calibration.sha256,
        "rows": _write_tables(folder, calibration, clients, seed, file_format, progress),
        "command": _command(clients, seed, file_format),
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")


def _command(clients: int, seed: int, file_format: str) -> str:
    return f"python -m training.synthetic --clients {clients} --seed {seed} --format {file_format} --out DIR"


def command_of(folder: Path, rows: Mapping[str, int]) -> str | None:
    """The command that draws the portfolio in this folder again; None if it holds no drawn portfolio.

    `rows`: the number of rows of each table. Raises BadTable for a description that does not match them.
    """
    file = folder / DESCRIPTION
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        command = _command(int(content["clients"]), int(content["seed"]), str(content["format"]))
        described = {table: content["rows"].get(table) for table in rows}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadTable(DESCRIPTION, "the file is not what training.synthetic writes: remove it") from error
    if command != content.get("command") or described != dict(rows):
        raise BadTable(DESCRIPTION, "the file does not describe the tables beside it: remove it")
    return command


def _write_tables(
    folder: Path, calibration: Calibration, clients: int, seed: int, file_format: str, progress: bool
) -> dict[str, int]:
    """Write all tables. Returns the number of rows of each."""
    rows: Counter[str] = Counter()
    total = chunks.total_clients(calibration, clients)
    with ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=total, unit=" clients", disable=None if progress else True))
        writers = {table: stack.enter_context(_writer(folder, table, file_format)) for table in TABLES}
        for chunk in chunks.draw_chunks(calibration, clients, seed):
            for table, content in chunks.tables(calibration, chunk, file_format).items():
                if content.num_rows:
                    writers[table].write_table(content)
                rows[table] += content.num_rows
            bar.update(len(chunk.numbers))
    return dict(rows)


def _writer(folder: Path, table: str, file_format: str) -> parquet.ParquetWriter | csv.CSVWriter:
    file, schema = folder / f"{table}.{file_format}", chunks.schema(table, file_format)
    if file_format == "csv":
        unquoted = csv.WriteOptions(quoting_style="none", quoting_header="none")
        return csv.CSVWriter(file, schema, write_options=unquoted)
    return parquet.ParquetWriter(file, schema)
