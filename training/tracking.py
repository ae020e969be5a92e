"""Shows a training in MLflow: a parent run, a run a candidate, figures, tables and their data."""

import contextlib
import hashlib
from collections.abc import Iterator

import mlflow
import numpy as np
import pandas as pd
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.pandas_dataset import PandasDataset, from_pandas
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE, MLFLOW_SOURCE_NAME
from sqlalchemy.exc import SQLAlchemyError

from mlflow_model import registry
from mlflow_model.errors import ModelUnavailable
from training import figures, report
from training.candidates import MODEL_FEATURES
from training.experiment import FOLDS, Outcome, Trial
from training.report import Source
from training.tables import LABEL


class CannotOpen(Exception):
    def __init__(self) -> None:
        super().__init__("MLflow cannot be opened or does not answer: check MLFLOW_TRACKING_URI and its disk")


class NotShown(Exception):
    def __init__(self) -> None:
        super().__init__(
            "The run in MLflow is not complete, because MLflow answers no more: "
            "check MLFLOW_TRACKING_URI and its disk, and train again if it shall be shown"
        )


# What MLflow raises when its store is gone: `requests` raises OSErrors.
_GONE = (ModelUnavailable, MlflowException, SQLAlchemyError, OSError)


def connect() -> str | None:
    """Opens MLflow, and gives the experiment; None inside `mlflow run`. Raises CannotOpen."""
    try:
        return registry.experiment(registry.connect(create=True))
    except _GONE as error:
        raise CannotOpen from error


@contextlib.contextmanager
def training_run(name: str) -> Iterator[Run]:
    """The parent run, which is marked as failed when its block is.

    Inside `mlflow run` it is the run that MLflow has started already. Raises CannotOpen, at its end NotShown.
    """
    experiment = connect()
    try:
        run = mlflow.start_run(experiment_id=experiment, run_name=name)
    except _GONE as error:
        raise CannotOpen from error
    try:
        yield run
    except BaseException:
        with contextlib.suppress(*_GONE):
            mlflow.end_run("FAILED")
        raise
    with _shown():
        mlflow.end_run()


@contextlib.contextmanager
def _shown() -> Iterator[None]:
    try:
        yield
    except _GONE as error:
        raise NotShown from error


@_shown()
def log(run: Run, outcome: Outcome, source: Source, card: str, pickle_sha256: str) -> None:
    """Into the parent run, which is active. Raises NotShown.

    The tag `pickle.sha256` is how the registry finds the training of what it registers.
    """
    settings, champion = outcome.settings, outcome.champion
    mlflow.log_params(
        {
            "command": source.command,
            "labelled_clients": len(outcome.development) + len(outcome.test),
            "n_features": len(MODEL_FEATURES),
            "search_minutes": settings.search_minutes,
            "seed": settings.seed,
            "folds": FOLDS,
            "cost_false_negative": settings.costs.false_negative,
            "cost_false_positive": settings.costs.false_positive,
            "margin_rule": settings.margin.text,
            "champion": champion.candidate.name,
        }
    )
    mlflow.set_tags({MLFLOW_RUN_NOTE: card, "pickle.sha256": pickle_sha256, "data.sha256": source.sha256})
    mlflow.log_metrics(_metrics(champion))
    if outcome.truth is not None:
        mlflow.log_metric("auc_of_true_probabilities", outcome.truth.value)
    mlflow.log_text(card, "model_card.md")
    mlflow.log_table(_comparison(outcome), "candidates.json")
    mlflow.log_figure(figures.of_comparison(outcome), "figures/candidates.png")
    _log_data(outcome, source)
    for trial in outcome.trials:
        # Without its experiment a nested run would go to MLflow's Default.
        with mlflow.start_run(
            experiment_id=run.info.experiment_id, run_name=trial.candidate.name, nested=True
        ):
            _log_trial(outcome, trial, source)


def _log_trial(outcome: Outcome, trial: Trial, source: Source) -> None:
    mlflow.set_tags(
        {
            "champion": str(trial is outcome.champion).lower(),
            "threshold.reason": trial.threshold.reason,
            "data.sha256": source.sha256,
        }
    )
    mlflow.log_params({**trial.candidate.parameters, "seed": outcome.settings.seed, "folds": FOLDS})
    mlflow.log_metrics(_metrics(trial))
    _log_data(outcome, source)
    mlflow.log_table(_cost_curve(outcome, trial), "cost_curve.json")
    for name, figure in figures.of_trial(outcome, trial).items():
        mlflow.log_figure(figure, f"figures/{name}.png")


def _cost_curve(outcome: Outcome, trial: Trial) -> pd.DataFrame:
    """Of so many clients each probability is a step: in thousandths it can be read."""
    thresholds = np.arange(1001) / 1000
    out_of_fold, test = figures.cost_curves(outcome, trial)
    return pd.DataFrame(
        {
            "threshold": thresholds,
            "out-of-fold cost": out_of_fold.at(thresholds),
            "test cost": test.at(thresholds),
        }
    )


def _metrics(trial: Trial) -> dict[str, float]:
    """The test set's figures, and what was chosen out of fold, with their intervals."""
    chosen = {
        "out_of_fold_cost": trial.out_of_fold_cost,
        "out_of_fold_cost_over_champion": trial.extra_cost,
        "threshold_cheapest": trial.threshold.optimum,
    }
    bounds = {
        name + suffix: bound
        for name, interval in chosen.items()
        for suffix, bound in zip(("", "_low", "_high"), interval, strict=True)
    }
    return {
        **report.metrics(trial),
        **bounds,
        "threshold": trial.policy.threshold,
        "threshold_in_theory": trial.threshold.ideal,
        "margin": trial.policy.margin,
    }


def _log_data(outcome: Outcome, source: Source) -> None:
    for clients, context in ((outcome.development, "training"), (outcome.test, "test")):
        mlflow.log_input(_dataset(clients, source, context), context=context)


def _dataset(clients: pd.DataFrame, source: Source, name: str) -> PandasDataset:
    """With the digest of its own values. Its source names the files that it is from, and their digests."""
    columns = clients[[*MODEL_FEATURES, LABEL]].astype("float64")
    files = {file: content.sha256 for file, content in source.files.items()}
    made = CodeDatasetSource({MLFLOW_SOURCE_NAME: source.command, **files})
    return from_pandas(columns, made, targets=LABEL, name=name, digest=_digest(columns))


def _digest(columns: pd.DataFrame) -> str:
    """Of the clients' numbers and values, row by row; MLflow keeps 36 characters."""
    rows = pd.util.hash_pandas_object(columns).to_numpy()
    return hashlib.sha256(rows.tobytes()).hexdigest()[:36]


def _comparison(outcome: Outcome) -> pd.DataFrame:
    rows = [
        {
            "candidate": trial.candidate.name,
            "champion": trial is outcome.champion,
            "out-of-fold cost": str(trial.out_of_fold_cost),
            "cost over the champion's": str(trial.extra_cost),
            **{f"test {name}": str(figure) for name, figure in trial.test.items()},
        }
        for trial in outcome.trials
    ]
    return pd.DataFrame(rows)
