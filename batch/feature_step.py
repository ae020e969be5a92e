"""Makes features of raw tables: a process of its own, because what it needs takes memory and imports pandas.

`python -m batch.feature_step DIR FILE FEATURE...` writes one row a client into an Arrow file: SK_ID_CURR and
the features. Exit codes: 0 written, 2 refused, with one sentence on standard error.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from batch.errors import Refused
from mlflow_model import machine, processes

_REFUSED = 2
_ROWS = 65_536  # of a record batch
_PACKAGES = ("duckdb", "ibis", "pandas", "pyarrow")


def made(folder: Path, file: Path, features: Sequence[str]) -> None:
    """Have a process make them. Raises Refused."""
    done = subprocess.run(  # noqa: S603 - this project's own module
        [sys.executable, "-m", "batch.feature_step", str(folder), str(file), *features],
        env=processes.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode == _REFUSED:
        raise Refused(done.stderr.strip())
    if done.returncode:
        raise Refused(f"the features of {folder} cannot be made: the process ended with {done.returncode}")


def main() -> None:
    processes.end_with_parent()
    folder, file, *features = sys.argv[1:]
    if missing := machine.missing_packages(*_PACKAGES):
        machine.refuse(f"--features-from needs {missing[0]}, which an installation for serving alone has not")
    import pyarrow as pa
    import pyarrow.ipc

    from features import aggregate, raw_tables

    if unknown := [name for name in features if name not in aggregate.FEATURES]:
        machine.refuse(f"no feature {unknown[0]} is made of raw tables: name a file that has it by --input")
    try:
        found = aggregate.client_features(raw_tables.read(Path(folder)).by_name)
        clients = found.select(raw_tables.KEY, *features).to_pyarrow()
        with pa.ipc.new_file(file, clients.schema) as written:
            written.write_table(clients, max_chunksize=_ROWS)
    except (raw_tables.BadTable, OSError) as error:
        machine.refuse(str(error))


if __name__ == "__main__":
    main()
