"""`python -m training.reference`: the clients on whom a candidate is compared with the champion."""

from mlflow_model import command

if __name__ == "__main__":
    command.begin("pandas", "pyarrow", "duckdb", "ibis")

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from features import aggregate, raw_tables
from mlflow_model import arguments
from quality.portfolio import DRAWN
from training import command_line
from training.synthetic import writing

CLIENTS, SEED = 10_000, 20_261_124
FILE = Path(__file__).resolve().parents[1] / "models" / "reference.parquet"
_TRUTH = "TRUE_PROBABILITY"
DESCRIPTION = "Write the clients on whom a promotion compares a candidate with the champion."
EPILOG = """\
Without --data-dir the clients are drawn, and none of them exists. With it they are those of application_train
in DIR, the folder of raw tables that `python -m training --help` describes. FILE has their features, TARGET,
CODE_GENDER, by which the gate compares groups, and TRUE_PROBABILITY if DIR tells it; it has no SK_ID_CURR.

Take clients from whom no version has learnt, such as later ones: on those that it has learnt from, a model
looks better than it is. `python register.py promote VERSION --reference FILE` compares on them.

Exit codes: 0 written, 2 refused, with one sentence that says why, 130 interrupted.
"""


def drawn(clients: int, seed: int) -> pa.Table:
    """FEATURES, TARGET and TRUE_PROBABILITY of this many drawn clients, one row each."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "portfolio"
        writing.write_portfolio(clients, seed, raw)
        return of_tables(raw).drop_columns([*aggregate.SENSITIVE])


def of_tables(folder: Path) -> pa.Table:
    """SENSITIVE, FEATURES and TARGET of the clients whose outcome is known, one row each. Raises BadTable.

    TRUE_PROBABILITY too, where the folder of the raw tables tells it.
    """
    features = aggregate.client_features(raw_tables.read(folder).by_name).drop_null(raw_tables.LABEL)
    clients = features.to_pyarrow()
    known = clients.select([*aggregate.SENSITIVE, *aggregate.FEATURES, raw_tables.LABEL])
    keys = pd.Index(clients[raw_tables.KEY].to_numpy())
    truth = raw_tables.true_probabilities(folder, keys)
    return known if truth is None else known.append_column(_TRUTH, pa.array(truth.loc[keys].to_numpy()))


def main(given: Sequence[str] | None = None) -> int:
    options = _read(given)
    try:
        command_line.try_writing(options.out.resolve().parent, options.out)
        found, origin = _made(options)
        _write(found.replace_schema_metadata({"origin": origin}), options.out)
    except (raw_tables.BadTable, OSError) as error:
        sys.stderr.write(f"Refused: {error}\n")
        return 2
    sys.stderr.write(f"{options.out}: {found.num_rows:,} clients, {origin}\n")
    return 0


def _made(options: argparse.Namespace) -> tuple[pa.Table, str]:
    """The clients, and what the report of a promotion says of where they are from."""
    if options.data_dir is not None:
        return of_tables(
            options.data_dir
        ), "made of raw tables by python -m training.reference --data-dir DIR"
    origin = f"{DRAWN}python -m training.reference --clients {options.clients} --seed {options.seed}"
    return drawn(options.clients, options.seed), origin


def _write(clients: pa.Table, file: Path) -> None:
    """Write aside, then rename: the file appears whole."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".reference-") as scratch:
            whole = Path(scratch) / file.name
            parquet.write_table(clients, whole, compression="zstd", compression_level=19)
            whole.replace(file)
    except OSError as error:
        raise command_line.NotWritable(file, error) from error


# ---- Options


def _read(given: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(given)
    if options.data_dir is not None and options.seed is not None:
        parser.error("--seed is that of drawn clients: --data-dir draws none")
    if options.data_dir is not None and options.out is None:
        parser.error("--data-dir needs --out FILE: models/reference.parquet stays that of drawn clients")
    options.clients = options.clients or CLIENTS
    options.seed = SEED if options.seed is None else options.seed
    options.out = options.out or FILE
    return options


def _parser() -> argparse.ArgumentParser:
    parser = arguments.Parser(
        prog="python -m training.reference",
        description=DESCRIPTION,
        epilog=command.named_here(EPILOG),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_mutually_exclusive_group().add_argument
    add("--data-dir", type=Path, metavar="DIR", help="folder of your own raw tables")
    add("--clients", type=command_line.clients, metavar="N", help=f"draw so many (default: {CLIENTS})")
    add = parser.add_argument
    add("--seed", type=command_line.seed, metavar="S", help=f"of the drawn clients (default: {SEED})")
    of_out = "Parquet file to write (default for drawn clients: models/reference.parquet)"
    add("--out", type=_parquet, metavar="FILE", help=of_out)
    return parser


def _parquet(text: str) -> Path:
    if text.lower().endswith(".csv"):
        raise argparse.ArgumentTypeError("must not end with .csv: what is written is Parquet")
    return Path(text)


if __name__ == "__main__":
    command.run(main)
