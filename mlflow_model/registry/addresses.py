"""Says where MLflow's pages show this project: `python -m mlflow_model.registry.addresses http://HOST:PORT`.

The forms of these addresses are those of MLflow 3's pages.
"""

import sys
from collections.abc import Iterator
from urllib.parse import quote

from mlflow_model import command
from mlflow_model.errors import LoadingFailed
from mlflow_model.registry import connection, versions

_RUNS_SHOWN = 3


def lines(url: str) -> Iterator[str]:
    """What the registry holds, each with its page; what to do if it holds nothing. Raises LoadingFailed."""
    client = connection.connect()
    with connection.in_words("lecture du registre"):
        experiment = client.get_experiment_by_name(connection.EXPERIMENT)
        if experiment is None:
            yield "nothing yet: make register, or make train"
            return
        place = f"{url}/#/experiments/{experiment.experiment_id}"
        yield f"all runs  {place}"
        runs = client.search_runs([experiment.experiment_id], max_results=_RUNS_SHOWN)
        for run in runs:
            yield f"a run     {place}/runs/{run.info.run_id}  ({run.info.run_name})"
        for model in client.search_registered_models(f"name = '{versions.NAME}'"):
            yield f"versions  {url}/#/models/{quote(model.name)}"


def main() -> int:
    try:
        for line in lines(sys.argv[1]):
            sys.stderr.write(f"  {line}\n")
    except LoadingFailed as problem:
        sys.stderr.write(f"  {problem}\n")  # the pages may still open
    return 0


if __name__ == "__main__":
    command.begin("mlflow")
    sys.exit(main())
