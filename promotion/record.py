"""Records an examination as a run of MLflow."""

import math

import mlflow
import pandas as pd

from mlflow_model.registry import connection, failures
from mlflow_model.registry.examinations import EXAMINED_BY
from mlflow_model.registry.versions import Reference
from promotion import report
from promotion.comparison import Difference
from promotion.examination import Examination


def record(
    examined: Examination,
    outcome: str,
    why: str | None = None,
    by: str | None = None,
    overridden: str | None = None,
) -> str | None:
    """Record the report as a run. Returns its id, which the candidate's tag EXAMINED_BY then holds.

    Without a difference and objections there is nothing to record: returns None.
    """
    if examined.difference is None and not examined.objections:
        return None
    client = connection.connect()
    candidate = str(examined.candidate.version)
    run_name = f"examination of version {candidate}"
    with (
        failures.in_words("écriture du rapport de promotion"),
        mlflow.start_run(experiment_id=connection.experiment(client), run_name=run_name) as run,
    ):
        mlflow.set_tags(_tags(examined, outcome) | _who(why, by, overridden))
        mlflow.log_text(examined.text, "decision_diff.txt")
        _log_figures(examined)
        client.set_model_version_tag(examined.name, candidate, EXAMINED_BY, run.info.run_id)
    return str(run.info.run_id)


def _tags(examined: Examination, outcome: str) -> dict[str, str]:
    portfolio = examined.portfolio
    return {
        "champion": _number(examined.champion),
        "anchor": str(examined.anchor_number),
        "candidate": _number(examined.candidate),
        "alias": examined.alias,
        "outcome": outcome,
        "limits": examined.limits.own or "defaults",
        "objections": "; ".join(map(str, examined.objections)) or "none",
        "reference.sha256": "" if portfolio is None else portfolio.sha256,
        "reference.origin": "" if portfolio is None else report.described(portfolio),
    }


def _number(version: Reference | None) -> str:
    return "None" if version is None else str(version.version)


def _who(why: str | None, by: str | None, overridden: str | None) -> dict[str, str]:
    return {"why": why or "", "by": by or "", "overridden": overridden or "none"}


def _log_figures(examined: Examination) -> None:
    """The differences as metrics and as tables, and a picture of the one from the champion."""
    if examined.difference is not None:
        mlflow.log_figure(report.figure(examined.difference), "decision_diff.png")
    for prefix, file, difference in (
        ("", "decision_diff.json", examined.difference),
        ("anchor_", "anchor_diff.json", examined.from_anchor),
    ):
        if difference is not None:
            mlflow.log_metrics(_metrics(difference, prefix))
            mlflow.log_table(pd.DataFrame(dict(report.table(difference))), file)


def _metrics(difference: Difference, prefix: str) -> dict[str, float]:
    """The differences by names that every store of MLflow takes, if they are numbers."""
    found = {"changed": difference.changed} | {one.name: one.difference for one in difference.changes}
    return {
        prefix + name.replace(" ", "_").replace("(", "").replace(")", ""): value
        for name, value in found.items()
        if math.isfinite(value)
    }
