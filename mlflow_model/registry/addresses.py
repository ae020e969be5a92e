"""Says where MLflow's pages show this project, once they answer. `make ui` runs it beside MLflow's server.

`python -m mlflow_model.registry.addresses URL`. The forms of the addresses are those of MLflow 3's pages.
"""

import os
import sys
import time
import urllib.request
import webbrowser
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from mlflow.entities import Run

from mlflow_model import command
from mlflow_model.errors import LoadingFailed
from mlflow_model.registry import connection, failures, versions

_PATIENCE_SECONDS = 60.0
_RUNS_SHOWN, _RUNS_READ = 3, 30


def pages(url: str) -> Iterator[tuple[str, str]]:
    """What the registry holds, each with its page; nothing if it holds nothing. Raises LoadingFailed."""
    client = connection.connect()
    with failures.in_words("lecture du registre"):
        experiment = client.get_experiment_by_name(connection.EXPERIMENT)
        if experiment is None:
            return
        place = f"{url}/#/experiments/{experiment.experiment_id}"
        yield "all runs", f"{place}/runs"
        runs = client.search_runs([experiment.experiment_id], max_results=_RUNS_READ)
        for run in _of_people(runs)[:_RUNS_SHOWN]:
            yield str(run.info.run_name), f"{place}/runs/{run.info.run_id}"
        for model in client.search_registered_models(f"name = '{versions.NAME}'"):
            yield "versions", f"{url}/#/models/{quote(model.name)}"


def _of_people(runs: Iterable[Run]) -> list[Run]:
    """Without those of single candidates, whose training's run has the figures of the best."""
    return [run for run in runs if connection.CANDIDATES_TAG not in run.data.tags]


def main() -> int:
    url, server = sys.argv[1], os.getppid()
    if not _answers(url, server):
        return 1
    try:
        found = list(pages(url))
    except LoadingFailed as problem:
        sys.stderr.write(f"\n  {command.named_here(str(problem))}\n")
        return 0
    width = max((len(what) for what, _ in found), default=0)
    said = [f"{what.ljust(width)}  {page}" for what, page in found]
    said = said or ["nothing yet: make register, or make train"]
    sys.stderr.write("\n" + "".join(f"  {line}\n" for line in said))
    if sys.stderr.isatty() and "DISPLAY" in os.environ and found:
        webbrowser.open(found[0][1])
    return 0


def _answers(url: str, server: int) -> bool:
    """Wait until the pages answer. False if their server ends, which has told why, or takes too long."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline and os.getppid() == server:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - the address that make gives
                return True
        except OSError:
            time.sleep(0.5)
    return False


if __name__ == "__main__":
    command.begin("mlflow")
    command.run(main)
