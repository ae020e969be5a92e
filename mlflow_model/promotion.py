"""Promotes through the gate: a candidate beside the champion, then the alias moves, if nobody was faster."""

import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_model import aliases, gate, gate_report, registry, signed_versions, signing, trial
from mlflow_model.bundle import Bundle
from mlflow_model.errors import LoadingFailed
from mlflow_model.gate import Difference, Limits
from mlflow_model.registry import Reference
from mlflow_model.signing import Signer, SigningRefused

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Examination:
    """A candidate beside the version that the alias names; without one that can be read, no difference.

    `reference`: the SHA-256 of the portfolio, and `former_reference` that of the last promotion's.
    """

    name: str
    alias: str
    champion: Reference | None
    candidate: Reference
    difference: Difference | None = None
    objections: Sequence[str] = ()
    reference: str | None = None
    former_reference: str | None = None

    @property
    def text(self) -> str:
        if not self._compares:
            return f"{self.alias} of {self.name} names no other version: there is nothing to compare with"
        assert self.champion is not None  # noqa: S101 - then there is one
        title = f"{self.name}: version {self.candidate.version} beside version {self.champion.version}"
        compared = gate_report.lines(self.difference) if self.difference else "They could not be compared."
        return f"{title} ({self.alias})\n\n{compared}{self._on_another_reference}"

    @property
    def _compares(self) -> bool:
        return self.champion is not None and self.champion.version != self.candidate.version

    @property
    def _on_another_reference(self) -> str:
        if self.former_reference in (None, self.reference):
            return ""
        return (
            "\n\nThis is another reference than at the last promotion: "
            f"sha256 {str(self.former_reference)[:12]} then, {str(self.reference)[:12]} now."
        )


def examine(
    number: int,
    *,
    name: str,
    alias: str,
    reference: Path,
    limits: Limits,
    signer: Signer | None = None,
) -> Examination:
    """Verify the candidate, and compare it on the reference, each in a limited process of its own.

    Nothing of a version runs before its signature is checked, where MODEL_PUBLIC_KEY asks for one; what is to
    be signed must have been before. A champion that cannot be loaded is an objection: otherwise nobody could
    replace it. Raises LoadingFailed, BadReference, SigningRefused.
    """
    candidate = registry.resolve(f"models:/{name}/{number}")
    if signer is not None:
        signed_versions.vouched(signer, number, name)
    else:
        signing.check(str(candidate.digest), name, candidate.statement)
    bundle = registry.download(candidate)
    present = registry.version_at(name, alias)
    champion = None if present is None else registry.resolve(f"models:/{name}/{present}")
    examined = Examination(name, alias, champion, candidate)
    if champion is None or present == number:
        with _in_folder(bundle) as folder, closing(trial.Trial()) as alone:
            alone.verified(folder, bundle.digest)
        return examined
    portfolio = gate.read(reference)
    answers = _answers(bundle, portfolio)
    foreseen = None
    if signer is None:
        foreseen = signed_versions.foreseen(candidate.statement, f"version {number}", champion)
    examined = replace(
        examined,
        objections=[foreseen] if foreseen else [],
        reference=portfolio.sha256,
        former_reference=_former_reference(name, alias),
    )
    try:
        signing.check(str(champion.digest), name, champion.statement)
        present_bundle = registry.download(champion)
        present_answers = _answers(present_bundle, portfolio)
    except LoadingFailed as error:
        unreadable = f"the {alias}, version {present}, cannot be loaded ({error.detail})"
        return replace(examined, objections=[unreadable, *examined.objections])
    costs = gate.costs(_stated_costs(present_bundle)) or gate.DEFAULT_COSTS
    difference = gate.compare(present_answers, answers, portfolio.columns, costs)
    objections = [*difference.objections(limits), *_other_costs(bundle, costs), *examined.objections]
    return replace(examined, difference=difference, objections=objections)


def _answers(bundle: Bundle, portfolio: gate.Portfolio) -> trial.Answers:
    with _in_folder(bundle) as folder:
        return trial.decide(folder, bundle.digest, portfolio.known)


@contextmanager
def _in_folder(bundle: Bundle) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="examined-") as folder:
        bundle.write(Path(folder) / bundle.digest)
        yield Path(folder) / bundle.digest


def _former_reference(name: str, alias: str) -> str | None:
    """Of the last move that followed an examination."""
    known = [term.reference for term in registry.history(name, alias) if term.reference is not None]
    return known[-1] if known else None


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


def promote(
    examined: Examination,
    why: str | None,
    by: str | None = None,
    signer: Signer | None = None,
    valid_for: timedelta | None = None,
) -> None:
    """Move the alias, if all is still as it was examined, and record that. Raises Overtaken, LoadingFailed.

    `why`: the word of somebody, if there are objections.
    """
    number = int(str(examined.candidate.version))

    def ready(client: MlflowClient) -> None:
        _must_be_unchanged(examined)
        if signer is not None:
            digest = str(examined.candidate.digest)
            signed_versions.sign(client, signer, examined.name, number, digest, valid_for)

    run = record(examined, "examined", why, by)
    outcome = "interrupted"
    try:
        registry.promote(
            number,
            name=examined.name,
            alias=examined.alias,
            why=why,
            by=by,
            reference=examined.reference,
            ready=ready,
        )
        outcome = "forced" if examined.objections else "promoted"
    except aliases.Overtaken:
        outcome = "overtaken"
        raise
    finally:
        if run is not None:
            with suppress(MlflowException):  # the alias itself and its history tell what became of it
                registry.connect().set_tag(run, "outcome", outcome)


def _must_be_unchanged(examined: Examination) -> None:
    """The alias names the version, and both versions the bundles, that were examined. Raises Overtaken."""
    name, alias = examined.name, examined.alias
    present = registry.version_at(name, alias)
    former = None if examined.champion is None else int(str(examined.champion.version))
    if present != former:
        names = "no version" if present is None else f"version {present}"
        raise aliases.Overtaken(f"{alias} of {name} names {names} by now: compare with that one")
    for reference in (examined.candidate, examined.champion):
        if reference is not None and registry.resolve(reference.source).digest != reference.digest:
            raise aliases.Overtaken(f"version {reference.version} of {name} was exchanged meanwhile")


def rollback(
    *,
    name: str,
    alias: str,
    by: str | None = None,
    signer: Signer | None = None,
    valid_for: timedelta | None = None,
    unsigned: bool = False,
) -> int:
    """Return to the version before, signed anew if there is a key. Returns that version.

    Raises RollbackRefused, Overtaken, SigningRefused: among others where a service that asks for signatures
    would refuse it, unless `unsigned`.
    """
    number = registry.former(name, alias)
    if signer is not None:
        signed_versions.vouched(signer, number, name)
    elif not unsigned and (present := registry.version_at(name, alias)) is not None:
        wanted, served = (registry.resolve(f"models:/{name}/{one}") for one in (number, present))
        if foreseen := signed_versions.foreseen(wanted.statement, f"version {number}", served):
            raise SigningRefused(f"{foreseen}; --sign KEY.pem signs it anew, --unsigned returns all the same")

    def ready(client: MlflowClient, returning: int) -> None:
        if returning != number:
            raise aliases.Overtaken(f"{alias} of {name} has been moved meanwhile: look at it again")
        if signer is not None:
            reference = signed_versions.vouched(signer, number, name)
            signed_versions.sign(client, signer, name, number, str(reference.digest), valid_for)

    return registry.rollback(name=name, alias=alias, by=by, ready=ready)


def record(examined: Examination, outcome: str, why: str | None = None, by: str | None = None) -> str | None:
    """The report as a run, which the tag `examination.run` of the candidate's version names. Gives its id."""
    if examined.difference is None and not examined.objections:
        return None
    figures = None if examined.difference is None else _figures(examined.difference)
    client = registry.connect()
    candidate = str(examined.candidate.version)
    run_name = f"examination of version {candidate}"
    with (
        registry.in_words("écriture du rapport de promotion"),
        mlflow.start_run(experiment_id=registry.experiment(client), run_name=run_name) as run,
    ):
        mlflow.set_tags(
            {
                "champion": "None" if examined.champion is None else str(examined.champion.version),
                "candidate": candidate,
                "alias": examined.alias,
                "outcome": outcome,
                "objections": "; ".join(examined.objections) or "none",
                "why": why or "",
                "by": by or "",
                "reference.sha256": examined.reference or "",
            }
        )
        mlflow.log_text(examined.text, "decision_diff.txt")
        if figures is not None:
            metrics, table, picture = figures
            mlflow.log_metrics(metrics)
            mlflow.log_table(table, "decision_diff.json")
            mlflow.log_figure(picture, "decision_diff.png")
        client.set_model_version_tag(examined.name, candidate, "examination.run", run.info.run_id)
    return str(run.info.run_id)


def _figures(difference: Difference) -> tuple[dict[str, float], pd.DataFrame, "Figure"]:
    """The differences as metrics, champion and candidate as a table, and a picture."""
    changes = {change.name.replace(" ", "_"): change.difference for change in difference.changes}
    metrics = {"changed": difference.changed, **changes}
    finite = {key: value for key, value in metrics.items() if math.isfinite(value)}
    return finite, pd.DataFrame(dict(gate_report.table(difference))), gate_report.figure(difference)
