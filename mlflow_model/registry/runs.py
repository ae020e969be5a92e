"""Shows in MLflow what another room has done: a run with parameters, metrics and a text."""

from collections.abc import Mapping

import mlflow

from mlflow_model.registry import connection, failures, sqlite


def show(
    name: str,
    parameters: Mapping[str, str],
    metrics: Mapping[str, float],
    texts: Mapping[str, str],
) -> str:
    """A run that has ended, in the experiment of this project. Returns its ID.

    `texts`: its artifacts, by their names. Raises LoadingFailed.
    """
    with sqlite.alone():
        client = connection.connect(create=True)
        with failures.in_words("ouverture de MLflow"):
            experiment = connection.experiment(client)
    with (
        failures.in_words("écriture dans MLflow"),
        mlflow.start_run(experiment_id=experiment, run_name=name) as run,
    ):
        mlflow.log_params({**parameters})
        mlflow.log_metrics({**metrics})
        for file, text in texts.items():
            mlflow.log_text(text, file)
    return str(run.info.run_id)
