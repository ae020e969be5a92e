"""`python -m training`: from the raw tables to the pickle that is handed over, and its card."""

import argparse
import hashlib
import math
import pickle
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from lightgbm import LGBMClassifier

from mlflow_model.scoring import DecisionPolicy
from training import aggregate, fit, policy, report, tables

NAME = "lgbm_final_model"
EPILOG = f"""\
DIR holds application_train, bureau, previous_application, POS_CASH_balance and installments_payments in the
layout of Kaggle's "Home Credit Default Risk", each as <table>.parquet or else <table>.csv. application_test
may be there too: it is checked, and not learnt from.

Writes OUT/{NAME}.pkl and its model card OUT/{NAME}.md, or neither.
Exit codes: 0 written, 2 refused, with one sentence that says why.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        _train(options)
    except (tables.BadTable, fit.TooFewClients, policy.BadMargin, OSError) as error:
        _say(f"Refused: {error}")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description="Train the scoring model on the raw Home Credit tables and choose its policy.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data-dir", type=Path, required=True, metavar="DIR", help="folder of the raw tables")
    add("--out", type=Path, default=Path("models"), help="folder to write to (default: models)")
    add("--seed", type=_seed, default=0, help="of the folds and of LightGBM (default: 0)")
    add("--margin", type=_margin, default=0.02, help="half the width of the grey zone (default: 0.02)")
    add("--cost-fn", type=_cost, default=5.0, help="cost of lending to a defaulter (default: 5)")
    add("--cost-fp", type=_cost, default=1.0, help="cost of refusing a good client (default: 1)")
    add("--n-jobs", type=_threads, default=1, help="threads; they do not change the model (default: 1)")
    return parser


def _seed(text: str) -> int:
    if not (text.isdecimal() and int(text) < 2**31):
        raise argparse.ArgumentTypeError("must be a whole number from 0 to 2147483647")
    return int(text)


def _threads(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError("must be a whole number above 0")
    return int(text)


def _margin(text: str) -> float:
    if not 0.0 <= _double(text) <= 0.5:
        raise argparse.ArgumentTypeError("must be a number from 0 to 0.5")
    return _double(text)


def _cost(text: str) -> float:
    if not 0.0 < _double(text) < math.inf:
        raise argparse.ArgumentTypeError("must be a number above 0")
    return _double(text)


def _double(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _train(options: argparse.Namespace) -> None:
    costs = policy.Costs(options.cost_fn, options.cost_fp)
    _say(f"Reading and checking the tables in {options.data_dir}")
    raw = tables.read(options.data_dir)
    _say(f"Aggregating {sum(raw.rows.values()):,} rows to one row a client")
    clients = _labelled(raw)
    _say(f"Fitting {fit.FOLDS} folds of {len(clients):,} labelled clients")
    target = clients[tables.LABEL]
    probabilities = fit.out_of_fold(clients, target, options.seed, options.n_jobs)
    chosen = policy.choose(target, probabilities, costs, options.margin)
    _say("Fitting the delivered model on all of them")
    model = fit.fit(clients, target, options.seed, options.n_jobs)
    results = report.Results(
        policy=chosen,
        costs=costs,
        metrics=report.metrics(target, probabilities, chosen, costs),
        parameters={**fit.PARAMETERS, "seed": options.seed, "folds": fit.FOLDS},
        data=report.data_files(raw.rows),
        known=dict(clients[list(fit.MODEL_FEATURES)].notna().mean()),
        unused=fit.unused_features(model),
        command=_command(options),
    )
    _deliver(options.out, model, results)


def _labelled(raw: tables.RawTables) -> pd.DataFrame:
    return aggregate.client_features(raw.by_name).drop_null(tables.LABEL).to_pyarrow().to_pandas()


def _command(options: argparse.Namespace) -> str:
    """What reproduces the card, with no path of the machine in it."""
    return (
        f"python -m training --data-dir DIR --seed {options.seed} --margin {options.margin}"
        f" --cost-fn {options.cost_fn} --cost-fp {options.cost_fp}"
    )


def _deliver(folder: Path, model: LGBMClassifier, results: report.Results) -> None:
    pickled = _pickle(model, results.policy)
    card = report.card(results, hashlib.sha256(pickled).hexdigest())
    _write(folder, {f"{NAME}.pkl": pickled, f"{NAME}.md": card.encode()})
    sys.stdout.write(f"{folder / NAME}.pkl and its card {folder / NAME}.md\n{report.summary(results)}\n")


def _pickle(model: LGBMClassifier, chosen: DecisionPolicy) -> bytes:
    content = {
        "model": model,
        "features": list(fit.MODEL_FEATURES),
        "optimal_threshold": chosen.threshold,
        "margin": chosen.margin,
    }
    return pickle.dumps(content, protocol=4)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Every file appears whole, and none before all of them are on the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".training-") as scratch:
        for name, content in files.items():
            (Path(scratch) / name).write_bytes(content)
        for name in files:
            (Path(scratch) / name).replace(folder / name)


def _say(message: str) -> None:
    sys.stderr.write(f"{message}\n")


if __name__ == "__main__":
    sys.exit(main())
