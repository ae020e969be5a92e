"""Opens the registry that MLFLOW_TRACKING_URI names, and the experiment of this project in it."""

import logging
import os

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.db.db_types import DATABASE_ENGINES

from mlflow_model.errors import LoadingFailed
from mlflow_model.registry import failures, sqlite, store

EXPERIMENT = "scoring-client"
CANDIDATES_TAG = "threshold.reason"  # of the run of a single candidate, and of no other
# With its own defaults MLflow waits for minutes before it gives up, or for as long as a server asks it to. It
# also keeps a SQLite file open, and goes on reading it after another file was put in its place.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}
_ALWAYS_OPENED_ANEW = {"MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool"}


def connect(*, create: bool = False) -> MlflowClient:
    """A client of MLFLOW_TRACKING_URI, or else of this repository's own store, by absolute path.

    A store that is absent is made only with `create`: readers must not make one, and it takes seconds.
    """
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("mlflow.utils.git_utils").setLevel(logging.ERROR)  # git may well be absent
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # would show what `in_words` says
    anew = _ALWAYS_OPENED_ANEW if store.sqlite_file() is not None else {}
    for variable, value in (_PATIENCE | anew).items():
        os.environ.setdefault(variable, value)
    mlflow.set_tracking_uri(store.uri())
    _check_store()
    sqlite.check_is_a_registry()
    if sqlite.is_absent() and not create:
        raise LoadingFailed("aucun registre de modèles : lancez « python register.py »")
    with failures.in_words("ouverture du registre"):
        if create:
            sqlite.make_if_absent()
        return MlflowClient()


def experiment(client: MlflowClient) -> str | None:
    """The experiment, made on first use; None inside `mlflow run`, which has already chosen one."""
    if "MLFLOW_RUN_ID" in os.environ:
        return None
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        try:
            return str(client.create_experiment(EXPERIMENT, _artifact_root()))
        except MlflowException:  # two that find it absent both make it
            found = client.get_experiment_by_name(EXPERIMENT)
            if found is None:
                raise
    return str(found.experiment_id)


def _artifact_root() -> str | None:
    """Artifacts go beside a SQLite store, whatever the current folder. A server has a place of its own."""
    file = store.sqlite_file()
    return None if file is None else (file.parent / "mlartifacts").as_uri()


def _check_store() -> None:
    """Refuse at once a store that cannot be opened or would be forgotten: MLflow retries for minutes."""
    file = store.sqlite_file()
    if file is not None and (file.is_dir() or not file.parent.is_dir()):
        raise LoadingFailed("MLFLOW_TRACKING_URI ne nomme pas un fichier SQLite dans un dossier existant")
    if store.uri().startswith("sqlite:") and (file is None or file.name == ":memory:"):
        raise LoadingFailed("un registre en mémoire serait aussitôt oublié : nommez un fichier SQLite")
    engine = store.uri().partition(":")[0].partition("+")[0]
    if engine in DATABASE_ENGINES and not failures.DATABASE_ERRORS:
        raise LoadingFailed(f"ouverture du registre : {failures.NO_DRIVER}")
