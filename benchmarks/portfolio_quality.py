"""`python -m benchmarks.portfolio_quality PORTFOLIO SAMPLE`: are the drawn clients like the real ones?

PORTFOLIO is a folder that `python -m training.synthetic` wrote. SAMPLE holds raw tables of real clients, of
which the applications are compared. The product's own aggregation gives the features of both.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from features import aggregate, raw_tables
from features.catalogue import CATALOGUE
from mlflow_model import command
from training.synthetic.calibration import Calibration
from training.synthetic.chunks import FIRST_CLIENT, draw_chunks
from training.synthetic.writing import DESCRIPTION

OF_APPLICATION = [feature.name for feature in CATALOGUE if feature.table == raw_tables.APPLICATION]
# A client has rows in a table exactly when this is known.
KNOWN_WITH_ROWS = {
    feature.table: feature.name for feature in reversed(CATALOGUE) if feature.table != raw_tables.APPLICATION
}


@dataclass(frozen=True)
class Figure:
    name: str
    measured: float
    high: float
    low: float = 0.0

    @property
    def holds(self) -> bool:
        return self.low <= self.measured <= self.high

    @property
    def target(self) -> str:
        return f"{self.low:g} to {self.high:g}" if self.low else f"at most {self.high:g}"

    def __str__(self) -> str:
        missed = "" if self.holds else "MISSED"
        return f"{self.name:<64}{self.measured:>12.4g}   {self.target:<18}{missed}".rstrip()


def compare(portfolio: Path, sample: Path) -> list[Figure]:
    calibration = Calibration.read()
    description = json.loads((portfolio / DESCRIPTION).read_text())
    drawn, real = features(portfolio), features(sample)
    return [
        *_sizes(description, calibration),
        *_distances_to_the_sample(drawn, real),
        *_distances_to_the_calibration(drawn, calibration),
        _correlations(drawn, real),
        *_missing(drawn, calibration),
        *_faithfulness(drawn, description, calibration),
        *_labels(drawn, true_probabilities(portfolio), calibration),
    ]


def require_portfolio(folder: Path) -> None:
    if not (folder / DESCRIPTION).is_file():
        raise NotADirectoryError(f"{folder} is not a folder that python -m training.synthetic wrote")


def features(folder: Path) -> pd.DataFrame:
    clients = aggregate.client_features(raw_tables.read(folder).by_name)
    return clients.to_pyarrow().to_pandas().set_index(raw_tables.KEY)


def true_probabilities(portfolio: Path) -> pd.Series:
    description = json.loads((portfolio / DESCRIPTION).read_text())
    read = pd.read_csv if description["format"] == "csv" else pd.read_parquet
    file = portfolio / f"true_probabilities.{description['format']}"
    return read(file).set_index(raw_tables.KEY)["TRUE_PROBABILITY"]


def _sizes(description: Mapping, calibration: Calibration) -> Iterator[Figure]:
    full = calibration.facts["rows"]
    scale = description["clients"] / full["application_train"]
    for table in full:
        share = description["rows"][table] / (full[table] * scale)
        yield Figure(f"rows of {table}, as a share of those expected", share, low=0.97, high=1.03)


# ---- Distributions -----------------------------------------------------------------------------------------


def _distances_to_the_sample(drawn: pd.DataFrame, real: pd.DataFrame) -> Iterator[Figure]:
    for name in OF_APPLICATION:
        yield Figure(f"KS of {name} to the sample", _distance(drawn[name], real[name]), high=0.03)


def _distances_to_the_calibration(drawn: pd.DataFrame, calibration: Calibration) -> Iterator[Figure]:
    history = calibration.facts["history"]
    evenly = (np.arange(1_000_000) + 0.5) / 1_000_000
    for name, quantiles in history["client_features"].items():
        expected = pd.Series(np.interp(evenly, history["quantile_levels"], quantiles))
        yield Figure(f"KS of {name} to the calibration", _distance(drawn[name], expected), high=0.02)


def _distance(some: pd.Series, others: pd.Series) -> float:
    """Kolmogorov and Smirnov's, between the known values, to eight decimals.

    The 1e-5 in CREDIT_GOODS_RATIO orders the many clients of one ratio by their price, in the tenth decimal.
    """
    a, b = (np.sort(values.dropna().to_numpy().round(8)) for values in (some, others))
    steps = np.concatenate([a, b])
    share_of_a = np.searchsorted(a, steps, side="right") / len(a)
    share_of_b = np.searchsorted(b, steps, side="right") / len(b)
    return float(np.abs(share_of_a - share_of_b).max())


def _correlations(drawn: pd.DataFrame, real: pd.DataFrame) -> Figure:
    """Of each pair of features, among the clients of whom both are known."""
    drawn_ranks, real_ranks = (clients[OF_APPLICATION].corr("spearman") for clients in (drawn, real))
    furthest = (drawn_ranks - real_ranks).abs().max().max()
    return Figure("rank correlation that is furthest from the sample's", furthest, high=0.10)


# ---- Missing values ----------------------------------------------------------------------------------------


def _missing(drawn: pd.DataFrame, calibration: Calibration) -> Iterator[Figure]:
    """The patterns are of a sample with other shares: 15.2 % have no bureau rows, of all clients 14.3 %."""
    application = calibration.facts["application"]
    missing = drawn.isna().assign(**{table: drawn[name].isna() for table, name in KNOWN_WITH_ROWS.items()})
    expected = application["conditional"]["EXT_SOURCE_3_missing_without_bureau"]
    yield Figure(
        "share without EXT_SOURCE_3 of those without bureau rows",
        missing.loc[missing["bureau"], "EXT_SOURCE_3"].mean(),
        low=expected - 0.01,
        high=expected + 0.01,
    )
    for name, patterns in application["patterns"].items():
        yield Figure(f"share that is furthest off in {name}", _furthest(missing, patterns), high=0.015)


def _furthest(missing: pd.DataFrame, patterns: Sequence[Mapping]) -> float:
    columns = sorted({column for pattern in patterns for column in pattern["missing"]})
    shares = missing[columns].value_counts(normalize=True)
    expected = {tuple(c in pattern["missing"] for c in columns): pattern["share"] for pattern in patterns}
    return max(abs(shares.get(key, 0.0) - share) for key, share in expected.items())


# ---- Features and labels -----------------------------------------------------------------------------------


def _faithfulness(drawn: pd.DataFrame, description: Mapping, calibration: Calibration) -> Iterator[Figure]:
    """Draws the features again from the seed, and compares them with what aggregating the files gave."""
    chunks = draw_chunks(calibration, description["clients"], description["seed"])
    again = pd.concat(
        pd.DataFrame(
            {**chunk.features, "mean debt": chunk.clients.means["DEBT_CREDIT_RATIO"]},
            index=FIRST_CLIENT + chunk.numbers,
        )
        for chunk in chunks
    )
    features = list(aggregate.FEATURES)
    off = (
        (drawn[features] - again[features])
        .abs()
        .mask(drawn[features].isna() != again[features].isna(), np.inf)
    )
    rounded = (drawn["DEBT_CREDIT_RATIO"] - again["mean debt"]).abs()
    yield Figure("largest difference of an aggregated feature to the one drawn", off.max().max(), high=1e-5)
    yield Figure("the same of DEBT_CREDIT_RATIO before debts are in cents", rounded.max(), high=1e-5)


def _labels(drawn: pd.DataFrame, probabilities: pd.Series, calibration: Calibration) -> Iterator[Figure]:
    """The targets leave room for three standard errors with 100,000 clients."""
    targets, rate = drawn["TARGET"].dropna(), calibration.facts["default_rate"]
    auc = roc_auc_score(targets, probabilities[targets.index])
    yield Figure("default rate", targets.mean(), low=rate - 0.0026, high=rate + 0.0026)
    yield Figure("AUC of the true probabilities", auc, low=0.765, high=0.785)


# ---- The command -------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.portfolio_quality", description=__doc__)
    parser.add_argument("portfolio", type=Path, help="folder written by python -m training.synthetic")
    parser.add_argument("sample", type=Path, help="folder of real tables")
    options = parser.parse_args(arguments)
    try:
        require_portfolio(options.portfolio)
        figures = compare(options.portfolio, options.sample)
    except (NotADirectoryError, raw_tables.BadTable) as error:
        parser.error(str(error))
    print(f"{'':<64}{'measured':>12}   target", *figures, sep="\n")
    return 0 if all(figure.holds for figure in figures) else 1


if __name__ == "__main__":
    command.begin()
    command.run(main)
