"""Promotes through the gate: a candidate is compared with the champion and recorded, then the alias moves."""

from dataclasses import dataclass
from pathlib import Path

from mlflow_model import gate, gate_report, registry
from mlflow_model.bundle import Bundle
from mlflow_model.gate import Difference, Limits


@dataclass(frozen=True)
class Examination:
    """A candidate beside the version that the alias names; without such a version there is no difference."""

    name: str
    alias: str
    champion: int | None
    candidate: int
    difference: Difference | None
    objections: list[str]

    @property
    def text(self) -> str:
        if self.difference is None:
            return f"{self.alias} of {self.name} names no other version: there is nothing to compare with"
        title = f"{self.name}: version {self.candidate} beside version {self.champion} ({self.alias})"
        return f"{title}\n\n{gate_report.lines(self.difference)}"


def examine(number: int, *, name: str, alias: str, reference: Path, limits: Limits) -> Examination:
    """Verify the candidate, and compare it on the reference. Raises LoadingFailed, BadReference."""
    candidate = _bundle(name, number)
    champion = registry.version_at(name, alias)
    if champion is None or champion == number:
        return Examination(name, alias, champion, number, None, [])
    costs = candidate.policy["provenance"].get("costs")
    difference = gate.compare(
        _bundle(name, champion).scorer(), candidate.scorer(), gate.read(reference), costs
    )
    return Examination(name, alias, champion, number, difference, difference.objections(limits))


def promote(examined: Examination, why: str | None) -> None:
    """Record the examination, then move the alias. `why`: the word of somebody, if there are objections."""
    record(examined, "promoted" if not examined.objections else "forced", why)
    registry.promote(examined.candidate, name=examined.name, alias=examined.alias, why=why)


def record(examined: Examination, outcome: str, why: str | None = None) -> None:
    """The report as a run, linked from the candidate's version."""
    difference = examined.difference
    if difference is None:
        return
    registry.log_examination(
        examined.name,
        examined.candidate,
        {
            "champion": str(examined.champion),
            "candidate": str(examined.candidate),
            "alias": examined.alias,
            "outcome": outcome,
            "objections": "; ".join(examined.objections) or "none",
            "why": why or "",
        },
        {
            "changed": difference.changed,
            **{change.name.replace(" ", "_"): change.difference for change in difference.changes},
        },
        gate_report.table(difference),
        gate_report.figure(difference),
        examined.text,
    )


def _bundle(name: str, number: int) -> Bundle:
    return registry.download(registry.resolve(f"models:/{name}/{number}"))
