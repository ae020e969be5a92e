"""`python -m training.reference`: the clients on whom a candidate is compared with the champion.

They are drawn like a portfolio, with a seed of their own, and none of them exists.
"""

from mlflow_model import command

if __name__ == "__main__":
    command.begin("pandas", "pyarrow", "duckdb", "ibis")

import sys
import tempfile
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from features import aggregate, raw_tables
from mlflow_model import arguments
from training import command_line
from training.synthetic import writing

CLIENTS, SEED = 10_000, 20_261_124
FILE = Path(__file__).resolve().parents[1] / "models" / "reference.parquet"


def drawn(clients: int, seed: int) -> pa.Table:
    """FEATURES, TARGET and TRUE_PROBABILITY of this many drawn clients, one row each."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "portfolio"
        writing.write_portfolio(clients, seed, raw)
        features = (
            aggregate.client_features(raw_tables.read(raw).by_name).drop_null(raw_tables.LABEL).to_pyarrow()
        )
        truth = parquet.read_table(raw / "true_probabilities.parquet")
    joined = features.join(truth, raw_tables.KEY).sort_by(raw_tables.KEY)
    return joined.select([*aggregate.FEATURES, raw_tables.LABEL, "TRUE_PROBABILITY"])


def main() -> None:
    parser = arguments.Parser(prog="python -m training.reference", description=__doc__)
    add = parser.add_argument
    add("--clients", type=command_line.clients, default=CLIENTS, metavar="N", help="(default: %(default)s)")
    add("--seed", type=command_line.seed, default=SEED, metavar="S", help="(default: %(default)s)")
    add("--out", type=Path, default=FILE, metavar="FILE", help="(default: models/reference.parquet)")
    options = parser.parse_args()
    origin = f"drawn by python -m training.reference --clients {options.clients} --seed {options.seed}"
    found = drawn(options.clients, options.seed).replace_schema_metadata({"origin": origin})
    parquet.write_table(found, options.out, compression="zstd", compression_level=19)
    sys.stderr.write(f"{options.out}: {found.num_rows:,} clients, {origin}\n")


if __name__ == "__main__":
    command.run(main)
