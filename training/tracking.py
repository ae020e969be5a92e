"""Shows a training in MLflow: a parent run, a run a candidate, figures, tables and their data."""

import contextlib
from collections.abc import Iterator

import mlflow
import numpy as np
import pandas as pd
from mlflow.data.pandas_dataset import PandasDataset, from_pandas
from mlflow.entities import Run
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from mlflow_model import registry
from training import figures, report
from training.candidates import MODEL_FEATURES
from training.experiment import FOLDS, Outcome, Trial
from training.report import Source
from training.tables import LABEL


@contextlib.contextmanager
def training_run(name: str) -> Iterator[Run]:
    """The parent run, which is marked as failed when its block is.

    Inside `mlflow run` it is the run that MLflow has started already. Raises ModelUnavailable.
    """
    client = registry.connect(create=True)
    with mlflow.start_run(experiment_id=registry.experiment(client), run_name=name) as run:
        yield run


def log(run: Run, outcome: Outcome, source: Source, card: str, pickle_sha256: str) -> None:
    """Into the parent run, which is active.

    The tag `pickle.sha256` is how the registry finds the training of what it registers.
    """
    settings, champion = outcome.settings, outcome.champion
    mlflow.log_params(
        {
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
    """Named by the digest of the files that it was made from, which MLflow keeps 36 characters of."""
    columns = clients[[*MODEL_FEATURES, LABEL]].astype("float64")
    return from_pandas(columns, targets=LABEL, name=name, digest=source.sha256[:36])


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
