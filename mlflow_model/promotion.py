"""Promotes through the gate: a candidate is compared with the champion and recorded, then the alias moves."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import pandas as pd

from mlflow_model import gate, gate_report, registry
from mlflow_model.bundle import Bundle
from mlflow_model.errors import LoadingFailed
from mlflow_model.gate import Difference, Limits

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Examination:
    """A candidate beside the version that the alias names; without one that can be read, no difference."""

    name: str
    alias: str
    champion: int | None
    candidate: int
    difference: Difference | None
    objections: list[str]

    @property
    def text(self) -> str:
        if self.champion in (None, self.candidate):
            return f"{self.alias} of {self.name} names no other version: there is nothing to compare with"
        title = f"{self.name}: version {self.candidate} beside version {self.champion} ({self.alias})"
        compared = gate_report.lines(self.difference) if self.difference else "They could not be compared."
        return f"{title}\n\n{compared}"


def examine(number: int, *, name: str, alias: str, reference: Path, limits: Limits) -> Examination:
    """Verify the candidate, and compare it on the reference. Raises LoadingFailed, BadReference.

    A champion that cannot be loaded is an objection: otherwise nobody could replace it.
    """
    candidate = _bundle(name, number)
    scorer = candidate.scorer()
    champion = registry.version_at(name, alias)
    if champion is None or champion == number:
        return Examination(name, alias, champion, number, None, [])
    portfolio = gate.read(reference)
    try:
        present = _bundle(name, champion)
        present_scorer = present.scorer()
    except LoadingFailed as error:
        unreadable = f"the {alias}, version {champion}, cannot be loaded ({error.detail})"
        return Examination(name, alias, champion, number, None, [unreadable])
    costs = gate.costs(_stated_costs(present)) or gate.DEFAULT_COSTS
    difference = gate.compare(present_scorer, scorer, portfolio, costs)
    objections = [*difference.objections(limits), *_other_costs(candidate, costs)]
    return Examination(name, alias, champion, number, difference, objections)


def _stated_costs(bundle: Bundle) -> object:
    return bundle.policy["provenance"].get("costs")


def _other_costs(candidate: Bundle, costs: Mapping[str, float]) -> list[str]:
    """The champion's costs are the yardstick: a candidate cannot bring its own without a word."""
    stated = _stated_costs(candidate)
    if stated is None or gate.costs(stated) == costs:
        return []
    return [f"the candidate was made for the costs {_costs_in_words(stated)}, not {_costs_in_words(costs)}"]


def _costs_in_words(stated: object) -> str:
    usable = gate.costs(stated)
    return json.dumps(stated) if usable is None else ":".join(f"{cost:g}" for cost in usable.values())


def promote(examined: Examination, why: str | None) -> None:
    """Record the examination, then move the alias. `why`: the word of somebody, if there are objections."""
    record(examined, "promoted" if not examined.objections else "forced", why)
    registry.promote(examined.candidate, name=examined.name, alias=examined.alias, why=why)


def record(examined: Examination, outcome: str, why: str | None = None) -> None:
    """The report as a run, which the tag `examination.run` of the candidate's version names."""
    if examined.difference is None and not examined.objections:
        return
    figures = None if examined.difference is None else _figures(examined.difference)
    client = registry.connect()
    run_name = f"examination of version {examined.candidate}"
    with (
        registry.in_words("écriture du rapport de promotion"),
        mlflow.start_run(experiment_id=registry.experiment(client), run_name=run_name) as run,
    ):
        mlflow.set_tags(
            {
                "champion": str(examined.champion),
                "candidate": str(examined.candidate),
                "alias": examined.alias,
                "outcome": outcome,
                "objections": "; ".join(examined.objections) or "none",
                "why": why or "",
            }
        )
        mlflow.log_text(examined.text, "decision_diff.txt")
        if figures is not None:
            metrics, table, picture = figures
            mlflow.log_metrics(metrics)
            mlflow.log_table(table, "decision_diff.json")
            mlflow.log_figure(picture, "decision_diff.png")
        client.set_model_version_tag(
            examined.name, str(examined.candidate), "examination.run", run.info.run_id
        )


def _figures(difference: Difference) -> tuple[dict[str, float], pd.DataFrame, "Figure"]:
    """The differences as metrics, champion and candidate as a table, and a picture."""
    changes = {change.name.replace(" ", "_"): change.difference for change in difference.changes}
    metrics = {"changed": difference.changed, **changes}
    finite = {key: value for key, value in metrics.items() if math.isfinite(value)}
    return finite, pd.DataFrame(dict(gate_report.table(difference))), gate_report.figure(difference)


def _bundle(name: str, number: int) -> Bundle:
    return registry.download(registry.resolve(f"models:/{name}/{number}"))
