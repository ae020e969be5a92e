"""Makes features of raw tables: a process of its own, because what it needs takes memory and imports pandas.

It is asked for features of the tables in a folder, writes them into an Arrow file, one row a client behind
SK_ID_CURR, and answers what is wrong with the tables, or null.
"""

from collections.abc import Sequence
from pathlib import Path

from mlflow_model import machine, processes

_ROWS = 65_536  # of a record batch
_PACKAGES = ("duckdb", "ibis", "pandas", "pyarrow")


def main() -> None:
    processes.end_with_parent()
    processes.answer(_problem)


def _problem(folder: str, file: str, features: Sequence[str]) -> str | None:
    if missing := machine.missing_packages(*_PACKAGES):
        return f"--features-from needs {missing[0]}, which an installation for serving alone has not"
    import pyarrow as pa
    import pyarrow.ipc

    from features import aggregate, raw_tables

    if unknown := [name for name in features if name not in aggregate.FEATURES]:
        return f"no feature {unknown[0]} is made of raw tables: name a file that has it by --input"
    if not Path(folder).is_dir():
        return f"{folder} is not a folder"
    try:
        found = aggregate.client_features(raw_tables.read(Path(folder)).by_name)
        clients = found.select(raw_tables.KEY, *features).to_pyarrow()
        with pa.ipc.new_file(file, clients.schema) as written:
            written.write_table(clients, max_chunksize=_ROWS)
    except raw_tables.BadTable as error:
        return str(error)
    except OSError as error:
        return f"the features cannot be written: {machine.why_not_written(error)}"
    return None


if __name__ == "__main__":
    main()
