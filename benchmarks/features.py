"""`python -m benchmarks.features`: the features of a whole portfolio, by Ibis on DuckDB and by pandas.

Each run is a process of its own, from Parquet files to one frame; contenders take turns. Ours checks every
value on the way, so each is measured both with such checks and believing what it reads.
"""

import argparse
import importlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import memory
from features import aggregate, raw_tables
from features.aggregate import FEATURES
from mlflow_model import command
from training.synthetic import writing

HISTORY = {
    "bureau": ["AMT_CREDIT_SUM", "AMT_CREDIT_SUM_DEBT"],
    "previous_application": ["CNT_PAYMENT"],
    "POS_CASH_balance": ["CNT_INSTALMENT_FUTURE"],
    "installments_payments": ["AMT_PAYMENT", "NUM_INSTALMENT_VERSION"],
}
GOAL = 0.6
Work = Callable[[], pd.DataFrame]


def pandas_features(raw: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The definitions of the features once more, by other means: the reference."""
    means = {name: raw[name].groupby("SK_ID_CURR").mean() for name in HISTORY}
    clients = raw["application_train"].set_index("SK_ID_CURR").sort_index()
    bureau = raw["bureau"]
    share = (bureau["AMT_CREDIT_SUM_DEBT"] / bureau["AMT_CREDIT_SUM"]).replace([np.inf, -np.inf], np.nan)
    payments = means["installments_payments"]
    return clients.assign(
        CREDIT_TERM=_half_up(clients["AMT_CREDIT"] / clients["AMT_ANNUITY"].replace(0, np.nan), 4),
        DEBT_CREDIT_RATIO=share.fillna(0).groupby(bureau["SK_ID_CURR"]).mean(),
        ANNUITY_BIRTH_RATIO=_half_up(clients["AMT_ANNUITY"] / (-clients["DAYS_BIRTH"] / 365), 2),
        ANNUITY_INCOME_PERCENT=_half_up(
            clients["AMT_ANNUITY"] / clients["AMT_INCOME_TOTAL"].replace(0, np.nan), 5
        ),
        CREDIT_GOODS_RATIO=_half_up(clients["AMT_CREDIT"] / (clients["AMT_GOODS_PRICE"] + 1e-5), 4),
        INSTA_AMT_PAYMENT=payments["AMT_PAYMENT"],
        INSTA_NUM_INSTALMENT_VERSION=payments["NUM_INSTALMENT_VERSION"],
        POS_CNT_INSTALMENT_FUTURE=means["POS_CASH_balance"]["CNT_INSTALMENT_FUTURE"],
        PREV_CNT_PAYMENT=means["previous_application"]["CNT_PAYMENT"],
    )[list(FEATURES)]


def _half_up(values: pd.Series, decimals: int) -> pd.Series:
    return np.floor(values * 10.0**decimals + 0.5) / 10.0**decimals


def _by_pandas(folder: Path) -> Work:
    return lambda: pandas_features(_read_by_pandas(folder))


def _by_pandas_with_checks(folder: Path) -> Work:
    def work() -> pd.DataFrame:
        raw = _read_by_pandas(folder)
        for name, table in raw.items():
            _check(table, {**raw_tables.COLUMNS["application_test"], **raw_tables.COLUMNS.get(name, {})})
        return pandas_features(raw)

    return work


def _read_by_pandas(folder: Path) -> dict[str, pd.DataFrame]:
    raw = {
        name: pd.read_parquet(folder / f"{name}.parquet", columns=["SK_ID_CURR", *columns])
        for name, columns in HISTORY.items()
    }
    applications = [pd.read_parquet(folder / f"application_{part}.parquet") for part in ("train", "test")]
    return raw | {"application_train": pd.concat(applications)}


def _check(table: pd.DataFrame, kinds: raw_tables.Columns) -> None:
    """What features.raw_tables asks of every value, by pandas."""
    for name in table.columns.intersection([name for name, kind in kinds.items() if kind]):
        known, whole = table[name].dropna(), kinds[name] is not raw_tables.NUMBER
        if not (known.abs() < 1e15).all() or (whole and not (known == known.round()).all()):
            raise ValueError(name)
    if table["SK_ID_CURR"].hasnans or ("AMT_CREDIT" in table and not table["SK_ID_CURR"].is_unique):
        raise ValueError("SK_ID_CURR")


def _by_duckdb_with_checks(folder: Path) -> Work:
    return lambda: _aggregated(raw_tables.read(folder))


def _by_duckdb(folder: Path) -> Work:
    """Checked before the clock starts; the files are read once more then."""
    raw = raw_tables.read(folder)
    return lambda: _aggregated(raw)


def _aggregated(raw: raw_tables.RawTables) -> pd.DataFrame:
    return aggregate.client_features(raw.by_name).to_pyarrow().to_pandas()


CONTENDERS: Mapping[str, Callable[[Path], Work]] = {
    "pandas, values checked": _by_pandas_with_checks,
    "Ibis on DuckDB, values checked": _by_duckdb_with_checks,
    "pandas, values believed": _by_pandas,
    "Ibis on DuckDB, values believed": _by_duckdb,
}
OURS_AND_THEIRS = [
    (f"Ibis on DuckDB, values {how}", f"pandas, values {how}") for how in ("checked", "believed")
]


def _measured(contender: str, folder: Path) -> tuple[float, float]:
    """Seconds and megabytes at the most, of a process of its own; its imports are not counted as time."""
    command = [sys.executable, "-m", "benchmarks.features", "--contender", contender, str(folder)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - ourselves
    seconds, megabytes = said.split()
    return float(seconds), float(megabytes)


def _run_once(contender: str, folder: Path) -> None:
    importlib.import_module("ibis.backends.duckdb")  # which ibis would import when it is first used
    work = CONTENDERS[contender](folder)
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    print(seconds, memory.peak_mib())


def compare(folder: Path, rounds: int) -> str:
    measured: dict[str, list[tuple[float, float]]] = {contender: [] for contender in CONTENDERS}
    for _ in range(rounds):
        for contender, runs in measured.items():
            runs.append(_measured(contender, folder))
    medians = {
        contender: [statistics.median(run[place] for run in runs) for place in (0, 1)]
        for contender, runs in measured.items()
    }
    lines = ["| contender | seconds | MB at the most |", "| --- | --- | --- |"]
    for contender, (seconds, megabytes) in medians.items():
        spread = [run[0] for run in measured[contender]]
        lines.append(
            f"| {contender} | {seconds:.2f} ({min(spread):.2f} to {max(spread):.2f}) | {megabytes:,.0f} |"
        )
    for ours, theirs in OURS_AND_THEIRS:
        time_ratio, memory_ratio = (
            our / their for our, their in zip(medians[ours], medians[theirs], strict=True)
        )
        lines.append(f"| {ours}: share (goal: at most {GOAL}) | {time_ratio:.2f} | {memory_ratio:.2f} |")
    return "\n".join(lines)


def report(portfolio: Path | None = None, rounds: int = 3) -> str:
    """The table, as markdown. Without a folder of a portfolio, one of full size is drawn."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = portfolio or Path(scratch) / "portfolio"
        if portfolio is None:
            writing.write_portfolio(307_511, 0, folder)
        return compare(folder, rounds)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.features", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="a Parquet portfolio (default: draws one)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: 3)")
    parser.add_argument("--contender", choices=CONTENDERS, help="run this one once")
    options = parser.parse_args(arguments)
    if options.contender:
        _run_once(options.contender, options.folder)
        return 0
    print(report(options.folder, options.rounds))
    return 0


if __name__ == "__main__":
    command.begin()
    command.run(main)
