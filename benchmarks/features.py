"""`python -m benchmarks.features`: the features of a whole portfolio, by Ibis on DuckDB and by pandas.

Each run is a process of its own, from Parquet files to one frame; contenders take turns.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from training import aggregate, synthetic, tables
from training.aggregate import FEATURES

HISTORY = {
    "bureau": ["AMT_CREDIT_SUM", "AMT_CREDIT_SUM_DEBT"],
    "previous_application": ["CNT_PAYMENT"],
    "POS_CASH_balance": ["CNT_INSTALMENT_FUTURE"],
    "installments_payments": ["AMT_PAYMENT", "NUM_INSTALMENT_VERSION"],
}
GOAL = 0.6


def pandas_features(raw: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The definitions of the features once more, by other means: the reference."""
    means = {name: raw[name].groupby("SK_ID_CURR").mean() for name in HISTORY}
    clients = raw["application_train"].set_index("SK_ID_CURR").sort_index()
    bureau = raw["bureau"]
    share = (bureau["AMT_CREDIT_SUM_DEBT"] / bureau["AMT_CREDIT_SUM"]).replace([np.inf, -np.inf], np.nan)
    payments = means["installments_payments"]
    return clients.assign(
        CREDIT_TERM=clients["AMT_CREDIT"] / clients["AMT_ANNUITY"].replace(0, np.nan),
        DEBT_CREDIT_RATIO=share.fillna(0).groupby(bureau["SK_ID_CURR"]).mean(),
        ANNUITY_BIRTH_RATIO=clients["AMT_ANNUITY"] / (-clients["DAYS_BIRTH"] / 365),
        ANNUITY_INCOME_PERCENT=clients["AMT_ANNUITY"] / clients["AMT_INCOME_TOTAL"].replace(0, np.nan),
        CREDIT_GOODS_RATIO=clients["AMT_CREDIT"] / (clients["AMT_GOODS_PRICE"] + 1e-5),
        INSTA_AMT_PAYMENT=payments["AMT_PAYMENT"],
        INSTA_NUM_INSTALMENT_VERSION=payments["NUM_INSTALMENT_VERSION"],
        POS_CNT_INSTALMENT_FUTURE=means["POS_CASH_balance"]["CNT_INSTALMENT_FUTURE"],
        PREV_CNT_PAYMENT=means["previous_application"]["CNT_PAYMENT"],
    )[list(FEATURES)]


def _by_pandas(folder: Path) -> int:
    wanted = {name: ["SK_ID_CURR", *columns] for name, columns in HISTORY.items()}
    raw = {name: pd.read_parquet(folder / f"{name}.parquet", columns=wanted[name]) for name in wanted}
    applications = [pd.read_parquet(folder / f"application_{part}.parquet") for part in ("train", "test")]
    return len(pandas_features(raw | {"application_train": pd.concat(applications)}))


def _by_duckdb(folder: Path) -> int:
    raw = tables.read(folder)  # which checks every value, as pandas does not
    return len(aggregate.client_features(raw.by_name).to_pyarrow().to_pandas())


CONTENDERS: Mapping[str, Callable[[Path], int]] = {"Ibis on DuckDB": _by_duckdb, "pandas": _by_pandas}


def _measured(contender: str, folder: Path) -> tuple[float, float]:
    """Seconds and megabytes at the most, of a process of its own; its imports are not counted as time."""
    command = [sys.executable, "-m", "benchmarks.features", "--contender", contender, str(folder)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - ourselves
    seconds, megabytes = said.split()
    return float(seconds), float(megabytes)


def _run_once(contender: str, folder: Path) -> None:
    start = time.perf_counter()
    CONTENDERS[contender](folder)
    seconds = time.perf_counter() - start
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def compare(folder: Path, rounds: int) -> str:
    measured: dict[str, list[tuple[float, float]]] = {contender: [] for contender in CONTENDERS}
    for _ in range(rounds):
        for contender, runs in measured.items():
            runs.append(_measured(contender, folder))
    medians = {
        contender: [statistics.median(run[place] for run in runs) for place in (0, 1)]
        for contender, runs in measured.items()
    }
    ours, reference = medians["Ibis on DuckDB"], medians["pandas"]
    lines = ["| contender | seconds | MB at the most |", "| --- | --- | --- |"]
    for contender, (seconds, megabytes) in medians.items():
        spread = [run[0] for run in measured[contender]]
        lines.append(
            f"| {contender} | {seconds:.2f} ({min(spread):.2f} to {max(spread):.2f}) | {megabytes:,.0f} |"
        )
    ratios = [our / their for our, their in zip(ours, reference, strict=True)]
    lines.append(f"| ratio (goal: at most {GOAL}) | {ratios[0]:.2f} | {ratios[1]:.2f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.features", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="a Parquet portfolio (default: draws one)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: 3)")
    parser.add_argument("--contender", choices=CONTENDERS, help="run this one once")
    options = parser.parse_args(arguments)
    if options.contender:
        _run_once(options.contender, options.folder)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch) / "portfolio"
        if not options.folder:
            synthetic.write_portfolio(307_511, 0, folder)
        print(compare(folder, options.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
