"""`python -m training.synthetic`: the raw tables of clients who do not exist, drawn from calibration.json."""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

from pyarrow import csv, parquet
from tqdm import tqdm

from training import command_line, synthetic_tables
from training.calibration import Calibration
from training.command_line import NotWritable
from training.synthetic_tables import TABLES
from training.tables import BadTable

FORMATS = ("parquet", "csv")
DESCRIPTION = "portfolio.json"
EPILOG = f"""\
Writes into DIR the tables of Kaggle's "Home Credit Default Risk" that the features need, the true default
probability of each client in true_probabilities, and {DESCRIPTION}; or nothing at all. The same seed
gives the same bytes on every processor.

Exit codes: 0 written, 2 refused, with one sentence that says why, 130 interrupted.
"""


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
    """Write a portfolio of so many labelled clients as the folder `out`, which appears whole or not at all.

    `force` replaces a portfolio that is there. Raises FolderTaken, or the OSError of a disk that is full.
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
    """It holds what this command writes, and nothing that could be missed."""
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
    """What draws the portfolio in this folder again; None where it holds none. Raises BadTable.

    `rows`: what the tables hold. A description that says otherwise is not theirs.
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
    """The number of rows of each table."""
    rows: Counter[str] = Counter()
    total = synthetic_tables.total_clients(calibration, clients)
    with ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=total, unit=" clients", disable=None if progress else True))
        writers = {table: stack.enter_context(_writer(folder, table, file_format)) for table in TABLES}
        for chunk in synthetic_tables.draw_chunks(calibration, clients, seed):
            for table, content in synthetic_tables.tables(calibration, chunk, file_format).items():
                if content.num_rows:
                    writers[table].write_table(content)
                rows[table] += content.num_rows
            bar.update(len(chunk.numbers))
    return dict(rows)


def _writer(folder: Path, table: str, file_format: str) -> parquet.ParquetWriter | csv.CSVWriter:
    file, schema = folder / f"{table}.{file_format}", synthetic_tables.schema(table, file_format)
    if file_format == "csv":
        unquoted = csv.WriteOptions(quoting_style="none", quoting_header="none")
        return csv.CSVWriter(file, schema, write_options=unquoted)
    return parquet.ParquetWriter(file, schema)


# ---- The command -------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence, without the usage that argparse puts before it."""
        self.exit(2, f"Refused: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        with command_line.terminable():
            command_line.try_writing(options.out.resolve().parent, options.out)
            write_portfolio(
                options.clients, options.seed, options.out, options.format, not options.quiet, options.force
            )
    except (FolderTaken, NotWritable) as error:
        sys.stderr.write(f"Refused: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"Refused: {NotWritable(options.out, error)}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted: nothing was written.\n")
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m training.synthetic",
        description="Draw the raw Home Credit tables of clients who do not exist.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    full_size = Calibration.read().facts["rows"]["application_train"]
    parser.add_argument(
        "--clients",
        type=command_line.clients,
        default=full_size,
        metavar="N",
        help="with a label (default: %(default)s)",
    )
    parser.add_argument("--seed", type=_seed, default=0, metavar="S", help="a whole number (default: 0)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--format", choices=FORMATS, default="parquet", help="(default: parquet)")
    parser.add_argument("--force", action="store_true", help="replace the portfolio that DIR holds")
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")
    return parser


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError("must be a whole number from 0 on")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
