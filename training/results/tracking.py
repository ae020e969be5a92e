"""Shows a training in MLflow: a parent run, one run per candidate, figures, tables and their data."""

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

from features.raw_tables import LABEL
from mlflow_model.errors import ModelUnavailable
from mlflow_model.registry import connection, sqlite
from training.protocol.candidates import MODEL_FEATURES
from training.protocol.experiment import CandidateResult, Findings
from training.protocol.partition import FOLDS
from training.results import doubts, figures, report
from training.results.report import Source


class CannotOpen(Exception):
    def __init__(self) -> None:
        super().__init__("MLflow cannot be opened or does not answer: check MLFLOW_TRACKING_URI and its disk")


class NotShown(Exception):
    def __init__(self) -> None:
        super().__init__(
            "The run in MLflow is not complete, because MLflow answers no more: "
            "check MLFLOW_TRACKING_URI and its disk, and train again if it shall be shown"
        )


# What MLflow raises when its store is gone. The errors of `requests` are OSErrors.
_GONE = (ModelUnavailable, MlflowException, SQLAlchemyError, OSError)


def connect() -> str | None:
    """Open MLflow and return the experiment; None inside `mlflow run`. Raises CannotOpen."""
    try:
        with sqlite.alone():
            return connection.experiment(connection.connect(create=True))
    except _GONE as error:
        raise CannotOpen from error


@contextlib.contextmanager
def training_run(name: str) -> Iterator[Run]:
    """The parent run. If the block raises, the run is marked as failed.

    Inside `mlflow run` it is the run that MLflow has already started. Raises CannotOpen, and NotShown at the
    end.
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
    try:
        mlflow.end_run()
    except _GONE as error:
        raise NotShown from error


def log(run: Run, findings: Findings, source: Source, card: str, pickle_sha256: str) -> None:
    """Log the training into its parent run, which must be active. Raises NotShown.

    When the registry registers a pickle, it finds the training by the tag `pickle.sha256`.
    """
    try:
        _log_training(run, findings, source, card, pickle_sha256)
    except _GONE as error:
        raise NotShown from error


def _log_training(run: Run, findings: Findings, source: Source, card: str, pickle_sha256: str) -> None:
    settings, champion = findings.settings, findings.champion
    mlflow.log_params(
        {
            "command": source.command,
            "labelled_clients": len(findings.development) + len(findings.test),
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
    told = {"doubts": "; ".join(doubts.of(findings)) or "none"}
    digests = {"pickle.sha256": pickle_sha256, "data.sha256": source.sha256}
    mlflow.set_tags({MLFLOW_RUN_NOTE: card, **told, **digests})
    mlflow.log_metrics(_metrics(champion))
    if findings.truth is not None:
        mlflow.log_metric("auc_of_true_probabilities", findings.truth.value)
    mlflow.log_text(card, "model_card.md")
    mlflow.log_table(_comparison(findings), "candidates.json")
    mlflow.log_figure(figures.of_comparison(findings), "figures/candidates.png")
    _log_figures(findings, champion)
    _log_data(findings, source)
    for result in findings.results:
        # Without its experiment a nested run would go to MLflow's experiment "Default".
        with mlflow.start_run(
            experiment_id=run.info.experiment_id, run_name=result.candidate.name, nested=True
        ):
            _log_candidate(findings, result, source)


def _log_candidate(findings: Findings, result: CandidateResult, source: Source) -> None:
    mlflow.set_tags(
        {
            "champion": str(result is findings.champion).lower(),
            connection.CANDIDATES_TAG: result.threshold.reason,
            "data.sha256": source.sha256,
        }
    )
    mlflow.log_params({**result.candidate.parameters, "seed": findings.settings.seed, "folds": FOLDS})
    mlflow.log_metrics(_metrics(result))
    _log_data(findings, source)
    mlflow.log_table(_cost_curve(findings, result), "cost_curve.json")
    _log_figures(findings, result)


def _log_figures(findings: Findings, result: CandidateResult) -> None:
    for name, figure in figures.of_candidate(findings, result).items():
        mlflow.log_figure(figure, f"figures/{name}.png")


def _cost_curve(findings: Findings, result: CandidateResult) -> pd.DataFrame:
    """The costs at each thousandth: the whole curve has one step per client, too many to read."""
    thresholds = np.arange(1001) / 1000
    out_of_fold, test = figures.cost_curves(findings, result)
    return pd.DataFrame(
        {
            "threshold": thresholds,
            "out-of-fold cost": out_of_fold.at(thresholds),
            "test cost": test.at(thresholds),
        }
    )


def _metrics(result: CandidateResult) -> dict[str, float]:
    """The figures on the test set and what was chosen out of fold, with their intervals."""
    chosen = {
        "out_of_fold_cost": result.out_of_fold_cost,
        "out_of_fold_cost_over_champion": result.extra_cost,
        "threshold_cheapest": result.threshold.optimum,
    }
    bounds = {
        name + suffix: bound
        for name, interval in chosen.items()
        for suffix, bound in zip(("", "_low", "_high"), interval, strict=True)
    }
    return {
        **report.metrics(result),
        **bounds,
        "threshold": result.policy.threshold,
        "threshold_in_theory": result.threshold.ideal,
        "margin": result.policy.margin,
    }


def _log_data(findings: Findings, source: Source) -> None:
    for clients, context in ((findings.development, "training"), (findings.test, "test")):
        mlflow.log_input(_dataset(clients, source, context), context=context)


def _dataset(clients: pd.DataFrame, source: Source, name: str) -> PandasDataset:
    """The clients as a data set with a digest of its values. Its source names the files and their digests."""
    columns = clients[[*MODEL_FEATURES, LABEL]].astype("float64")
    files = {file: content.sha256 for file, content in source.files.items()}
    made = CodeDatasetSource({MLFLOW_SOURCE_NAME: source.command, **files})
    return from_pandas(columns, made, targets=LABEL, name=name, digest=_digest(columns))


def _digest(columns: pd.DataFrame) -> str:
    """The SHA-256 of the clients' numbers and values, row by row; MLflow keeps 36 characters."""
    rows = pd.util.hash_pandas_object(columns).to_numpy()
    return hashlib.sha256(rows.tobytes()).hexdigest()[:36]


def _comparison(findings: Findings) -> pd.DataFrame:
    rows = [
        {
            "candidate": result.candidate.name,
            "champion": result is findings.champion,
            "out-of-fold cost": str(result.out_of_fold_cost),
            "cost over the champion's": str(result.extra_cost),
            **{f"test {name}": str(figure) for name, figure in result.test.items()},
        }
        for result in findings.results
    ]
    return pd.DataFrame(rows)
