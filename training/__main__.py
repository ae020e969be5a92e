"""`python -m training`: from raw tables to the pickle that is handed over, its card and its MLflow run."""

from mlflow_model import command

if __name__ == "__main__":
    command.begin("mlflow", "lightgbm", "pandas", "sklearn", "duckdb", "ibis")

import argparse
import contextlib
import hashlib
import pickle
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
from mlflow.entities import Run
from tqdm import tqdm

from features import aggregate, raw_tables
from mlflow_model import arguments
from quality.costs import Costs
from training import command_line
from training.command_line import seed, threads
from training.protocol import experiment, lessons, partition, policy
from training.protocol.candidates import MODEL_FEATURES
from training.protocol.experiment import Findings, Settings
from training.results import doubts, report, tracking
from training.synthetic import writing

NAME = "lgbm_final_model"
_FARTHEST = 1_000_000  # the costs of the two mistakes
EPILOG = f"""\
DIR holds application_train, bureau, previous_application, POS_CASH_balance and installments_payments in the
layout of Kaggle's "Home Credit Default Risk", each as <table>.parquet or else <table>.csv. application_test
may be there too: it is checked, and not learnt from. With --clients the tables are drawn instead, of clients
who do not exist, by `python -m training.synthetic`.

MARGIN, half the width of the grey zone, is a number or one of
  auto:ci             covers the bootstrap interval of the cheapest threshold
  auto:capacity=0.05  the widest that sends at most this share of the clients to a loan officer
  auto:chow=0.8       the cheapest if a review costs this many times what refusing a good client costs

A portfolio that `python -m training.synthetic` wrote may be DIR too: its card says so, and the champion is
compared with the true probabilities.

Writes OUT/{NAME}.pkl and its model card OUT/{NAME}.md, or neither, and shows the candidates, their
figures and the data in MLflow (MLFLOW_TRACKING_URI, or this repository's own store). `python register.py
--pickle OUT/{NAME}.pkl` makes the result a version.

Exit codes: 0 written, 2 refused or not shown in MLflow, with one sentence that says why, 130 interrupted.
"""
_OF_SPLITTING = (
    "test on the last clients by this column of application_train, of dates or numbers (default: by chance)"
)
_OF_SEARCHING = "look for better LightGBM parameters"
_OF_HIDING = "learn from so many clients as if they had no history (default: 0.25)"
_OF_KAGGLE = 'Tables in the layout of Kaggle\'s "Home Credit Default Risk".'
_OF_NOBODY = (
    'Clients who do not exist, drawn from aggregates of Kaggle\'s "Home Credit Default Risk" by\n`{command}`.'
)


def main(given: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(given)
    if options.split_by is not None and options.data_dir is None:
        parser.error("--split-by needs --data-dir: drawn clients have no dates")
    if not 1 / _FARTHEST <= options.cost_fn / options.cost_fp <= _FARTHEST:
        parser.error(f"--cost-fn and --cost-fp must not differ by more than a factor of {_FARTHEST:,}")
    try:
        with command.terminable():
            _train(options)
    except BrokenPipeError:
        raise
    except (
        raw_tables.BadTable,
        experiment.TooFewClients,
        experiment.NothingLearnt,
        partition.NothingToSplitBy,
        policy.BadMargin,
        tracking.CannotOpen,
        OSError,
    ) as error:
        is_small = isinstance(error, raw_tables.BadTable | experiment.TooFewClients)
        _say(f"Refused: {error}{'; draw more clients' if options.clients and is_small else ''}")
        return 2
    except tracking.NotShown as error:
        _say(f"The files are written. {error}")
        return 2
    except KeyboardInterrupt:
        _say("Interrupted.")
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = arguments.Parser(
        prog="python -m training",
        description="Train the scoring model on the raw Home Credit tables and choose its policy.",
        epilog=command.named_here(EPILOG),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data-dir", type=Path, metavar="DIR", help="folder of the raw tables")
    source.add_argument("--clients", type=command_line.clients, metavar="N", help="draw so many instead")
    add("--out", type=Path, default=Path("trained"), help="folder to write to (default: trained)")
    add("--seed", type=seed, default=0, help="of the drawn clients, the split and the models (default: 0)")
    add("--margin", type=_margin, default="0.02", help="a number, or see below (default: 0.02)")
    add("--cost-fn", type=arguments.positive, default=5.0, help="cost of lending to a defaulter (default: 5)")
    add("--cost-fp", type=arguments.positive, default=1.0, help="cost of refusing a good client (default: 1)")
    add("--split-by", metavar="COLUMN", help=_OF_SPLITTING)
    add("--hide-history", type=arguments.part, default=lessons.HIDDEN_SHARE, metavar="SHARE", help=_OF_HIDING)
    add(
        "--search",
        type=arguments.positive,
        default=0.0,
        metavar="MINUTES",
        help="look for better LightGBM parameters",
    )
    add("--n-jobs", type=threads, default=1, help="threads; they do not change the model (default: 1)")
    return parser


def _margin(text: str) -> policy.MarginRule:
    try:
        return policy.margin_rule(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _train(options: argparse.Namespace) -> None:
    costs = Costs(options.cost_fn, options.cost_fp)
    settings = Settings(
        margin=options.margin,
        costs=costs,
        seed=options.seed,
        search_minutes=options.search,
        hidden_share=options.hide_history,
        n_jobs=options.n_jobs,
    )
    command_line.try_writing(options.out, options.out)
    with _raw_data(options) as (folder, raw):
        order = None if options.split_by is None else raw_tables.order(raw, options.split_by)
        _say(f"Aggregating {sum(raw.rows.values()):,} rows to one row a client")
        clients = _labelled(raw)
        truth = raw_tables.true_probabilities(folder, clients.index)
        source = _source(options, folder, raw)
    with tracking.training_run("training") as run:
        _say(f"Comparing models on {len(clients):,} labelled clients")
        with tqdm(unit=" steps", disable=None, leave=False) as bar:
            findings = experiment.run(clients, settings, _shown_on(bar), truth, order)
        for doubt in doubts.of(findings):
            _say(f"Warning: {doubt}")
        _deliver(options, run, findings, source)
    _say(f"Its run in MLflow: {run.info.run_id}")


@contextlib.contextmanager
def _raw_data(options: argparse.Namespace) -> Iterator[tuple[Path, raw_tables.RawTables]]:
    """A folder and its tables. A drawn portfolio is removed at the end; its seed can draw it again.

    MLflow is opened before the long work, so that a registry out of reach is seen early, but after given
    tables are checked, so that bad tables are refused at once.
    """
    if options.data_dir is not None:
        raw = _checked(options.data_dir)
        _open_mlflow()
        yield options.data_dir, raw
        return
    _open_mlflow()
    with tempfile.TemporaryDirectory(prefix="portfolio-") as scratch:
        _say(f"Drawing the tables of {options.clients:,} labelled clients, seed {options.seed}")
        folder = Path(scratch) / "portfolio"
        writing.write_portfolio(options.clients, options.seed, folder, progress=True)
        yield folder, _checked(folder)


def _open_mlflow() -> None:
    _say("Opening MLflow (the first time takes a few seconds)")
    tracking.connect()


def _checked(folder: Path) -> raw_tables.RawTables:
    _say("Reading and checking the tables")
    raw = raw_tables.read(folder)
    raw_tables.require_outcomes(raw, experiment.FEWEST)
    return raw


def _labelled(raw: raw_tables.RawTables) -> pd.DataFrame:
    features = aggregate.client_features(raw.by_name).drop_null(raw_tables.LABEL)
    return features.to_pyarrow().to_pandas().set_index(raw_tables.KEY)


def _shown_on(bar: tqdm) -> experiment.Step:
    def step(text: str) -> None:
        bar.set_description(text, refresh=False)
        bar.update()

    return step


def _source(options: argparse.Namespace, folder: Path, raw: raw_tables.RawTables) -> report.Source:
    files = report.data_files(raw.rows)
    if options.clients is not None:
        drawn = f"python -m training.synthetic --clients {options.clients} --seed {options.seed}"
        return report.Source(_OF_NOBODY.format(command=drawn), files, _command(options))
    drawing = writing.command_of(folder, {file.stem: rows for file, rows in raw.rows.items()})
    if drawing is None:
        return report.Source(_OF_KAGGLE, files, _command(options))
    return report.Source(_OF_NOBODY.format(command=drawing), files, f"{drawing} && {_command(options)}")


def _command(options: argparse.Namespace) -> str:
    """The command that trains again, without any path of this machine."""
    source = "--data-dir DIR" if options.clients is None else f"--clients {options.clients}"
    search = f" --search {_exact(options.search)}" if options.search else ""
    splitting = "" if options.split_by is None else f" --split-by {shlex.quote(options.split_by)}"
    is_usual = options.hide_history == lessons.HIDDEN_SHARE
    hiding = "" if is_usual else f" --hide-history {_exact(options.hide_history)}"
    return (
        f"python -m training {source} --seed {options.seed} --margin {options.margin.text}"
        f" --cost-fn {_exact(options.cost_fn)} --cost-fp {_exact(options.cost_fp)}{search}{splitting}{hiding}"
    )


def _exact(number: float) -> str:
    """To the last digit: the command is to give the same model."""
    return repr(number).removesuffix(".0")


def _deliver(options: argparse.Namespace, run: Run, findings: Findings, source: report.Source) -> None:
    """Write the files, then log to MLflow, so that a registry that has gone away does not cost the model."""
    pickled = _pickle(findings)
    digest = hashlib.sha256(pickled).hexdigest()
    card = report.card(findings, source, digest)
    _write(options.out, {f"{NAME}.pkl": pickled, f"{NAME}.md": card.encode()})
    file = options.out / NAME
    sys.stdout.write(f"{file}.pkl and its card {file}.md\n{report.summary(findings)}\n")
    _say("Drawing the figures and logging to MLflow")
    try:
        tracking.log(run, findings, source, report.text(findings, source), digest)
    except KeyboardInterrupt:
        _say("The files are written; the run in MLflow is not complete.")
        raise


def _pickle(findings: Findings) -> bytes:
    content = {
        "model": findings.champion.model,
        "features": list(MODEL_FEATURES),
        "optimal_threshold": findings.champion.policy.threshold,
        "margin": findings.champion.policy.margin,
    }
    return pickle.dumps(content, protocol=4)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files aside, then rename them: each appears whole, and none before all are written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".training-") as scratch:
            for name, content in files.items():
                (Path(scratch) / name).write_bytes(content)
            for name in files:
                (Path(scratch) / name).replace(folder / name)
    except OSError as error:
        raise command_line.NotWritable(folder, error) from error


def _say(message: str) -> None:
    sys.stderr.write(f"{command.named_here(message)}\n")


if __name__ == "__main__":
    command.run(main)
