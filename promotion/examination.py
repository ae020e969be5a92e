"""Promotes through the gate: compares a candidate with the champion, then moves the alias.

The alias stays where it is if anything has changed since the comparison.
"""

import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_model.bundle import signing, trial
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.signing import Signer, SigningRefused
from mlflow_model.errors import LoadingFailed
from mlflow_model.registry import (
    aliases,
    connection,
    failures,
    fetching,
    listing,
    moves,
    signed_versions,
    versions,
)
from mlflow_model.registry.versions import Reference
from promotion import gate, report
from promotion.gate import Difference, Limits
from promotion.portfolio import Portfolio
from quality.costs import Costs

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Examination:
    """A candidate compared with the version that the alias names, if there is another one that can be loaded.

    `portfolio_sha256`: of the reference portfolio. `last_portfolio_sha256`: of that of the last promotion.
    """

    name: str
    alias: str
    champion: Reference | None
    candidate: Reference
    difference: Difference | None = None
    objections: Sequence[str] = ()
    portfolio_sha256: str | None = None
    last_portfolio_sha256: str | None = None

    @property
    def text(self) -> str:
        if self.champion is None or self.champion.version == self.candidate.version:
            return f"{self.alias} of {self.name} names no other version: there is nothing to compare with"
        title = f"{self.name}: version {self.candidate.version} beside version {self.champion.version}"
        compared = report.lines(self.difference) if self.difference else "They could not be compared."
        return f"{title} ({self.alias})\n\n{compared}{self._on_another_portfolio}"

    @property
    def _on_another_portfolio(self) -> str:
        if self.last_portfolio_sha256 in (None, self.portfolio_sha256):
            return ""
        return (
            "\n\nThis is another reference than at the last promotion: "
            f"sha256 {str(self.last_portfolio_sha256)[:12]} then, {str(self.portfolio_sha256)[:12]} now."
        )


def examine(
    number: int,
    *,
    name: str,
    alias: str,
    reference_file: Path,
    limits: Limits,
    signer: Signer | None = None,
) -> Examination:
    """Verify the candidate and compare it with the champion on the reference portfolio.

    Each version runs in a limited process of its own, and only after its signature was checked. Raises
    LoadingFailed, BadReference, SigningRefused.
    """
    candidate = versions.resolve(f"models:/{name}/{number}")
    _check_signature(candidate, number, signer)
    bundle = fetching.download(candidate)
    present = listing.version_at(name, alias)
    champion = None if present is None else versions.resolve(f"models:/{name}/{present}")
    examined = Examination(name, alias, champion, candidate)
    if champion is None or present == number:
        _verify(bundle)
        return examined
    portfolio = Portfolio.read(reference_file)
    answers = _answers(bundle, portfolio)
    examined = replace(
        examined,
        objections=_foreseen(candidate, champion) if signer is None else [],
        portfolio_sha256=portfolio.sha256,
        last_portfolio_sha256=_last_portfolio(name, alias),
    )
    return _beside(champion, examined, _Answered(bundle, answers), portfolio, limits)


@dataclass(frozen=True)
class _Answered:
    """A version's bundle and its answers on the reference portfolio."""

    bundle: Bundle
    answers: trial.Answers


def _check_signature(candidate: Reference, number: int, signer: Signer | None) -> None:
    """Check the candidate's signature before anything of it runs.

    A version that is to be signed must have been signed before. Otherwise a signature is required only if
    MODEL_PUBLIC_KEY is set. Raises LoadingFailed, SigningRefused.
    """
    if signer is not None:
        signed_versions.vouched(signer, number, candidate.name)
    else:
        signing.check(str(candidate.digest), candidate.name, candidate.statement)


def _verify(bundle: Bundle) -> None:
    with _in_folder(bundle) as folder, closing(trial.Trial()) as alone:
        alone.verified(folder, bundle.digest)


def _foreseen(candidate: Reference, champion: Reference) -> list[str]:
    """The objection of a service that asks for signatures, if it has one."""
    objection = signed_versions.foreseen(candidate.statement, f"version {candidate.version}", champion)
    return [objection] if objection else []


def _beside(
    champion: Reference,
    examined: Examination,
    candidate: _Answered,
    portfolio: Portfolio,
    limits: Limits,
) -> Examination:
    """The examination with the candidate compared to the champion.

    A champion that cannot be loaded is an objection and not an error: otherwise nobody could replace it.
    """
    try:
        present = _champion_answered(champion, portfolio)
    except LoadingFailed as error:
        unreadable = f"the {examined.alias}, version {champion.version}, cannot be loaded ({error.detail})"
        return replace(examined, objections=[unreadable, *examined.objections])
    costs = gate.usable_costs(_stated_costs(present.bundle)) or gate.DEFAULT_COSTS
    difference = gate.compare(present.answers, candidate.answers, portfolio, costs)
    objections = [
        *difference.objections(limits),
        *_other_costs(candidate.bundle, costs),
        *examined.objections,
    ]
    return replace(examined, difference=difference, objections=objections)


def _champion_answered(champion: Reference, portfolio: Portfolio) -> _Answered:
    signing.check(str(champion.digest), champion.name, champion.statement)
    bundle = fetching.download(champion)
    return _Answered(bundle, _answers(bundle, portfolio))


def _answers(bundle: Bundle, portfolio: Portfolio) -> trial.Answers:
    with _in_folder(bundle) as folder:
        return trial.decide(folder, bundle.digest, portfolio.known)


@contextmanager
def _in_folder(bundle: Bundle) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="examined-") as folder:
        bundle.write(Path(folder) / bundle.digest)
        yield Path(folder) / bundle.digest


def _last_portfolio(name: str, alias: str) -> str | None:
    """The portfolio of the last move that followed an examination."""
    known = [term.portfolio for term in moves.history(name, alias) if term.portfolio is not None]
    return known[-1] if known else None


def _stated_costs(bundle: Bundle) -> object:
    return bundle.policy["provenance"].get("costs")


def _other_costs(candidate: Bundle, costs: Costs) -> list[str]:
    """An objection if the candidate states other costs. Both models are measured by the champion's costs."""
    stated = _stated_costs(candidate)
    if stated is None or gate.usable_costs(stated) == costs:
        return []
    return [f"the candidate was made for the costs {_costs_in_words(stated)}, not {_in_words(costs)}"]


def _costs_in_words(stated: object) -> str:
    usable = gate.usable_costs(stated)
    return json.dumps(stated) if usable is None else _in_words(usable)


def _in_words(costs: Costs) -> str:
    return f"{costs.false_negative:g}:{costs.false_positive:g}"


def promote(
    examined: Examination,
    why: str | None,
    by: str | None = None,
    signer: Signer | None = None,
) -> None:
    """Move the alias if nothing has changed since the examination, and record that.

    `why`: somebody's reason to promote in spite of objections. Raises Overtaken, LoadingFailed.
    """
    number = int(str(examined.candidate.version))

    def ready(client: MlflowClient) -> None:
        _must_be_unchanged(examined)
        if signer is not None:
            digest = str(examined.candidate.digest)
            signed_versions.sign(client, signer, examined.name, number, digest)

    run = record(examined, "examined", why, by)
    outcome = "interrupted"
    try:
        moves.promote(
            number,
            name=examined.name,
            alias=examined.alias,
            why=why,
            by=by,
            portfolio=examined.portfolio_sha256,
            ready=ready,
        )
        outcome = "forced" if examined.objections else "promoted"
    except aliases.Overtaken:
        outcome = "overtaken"
        raise
    finally:
        if run is not None:
            with suppress(MlflowException):  # the alias and its history show the outcome
                connection.connect().set_tag(run, "outcome", outcome)


def _must_be_unchanged(examined: Examination) -> None:
    """Raises Overtaken if the alias names another version by now, or a version another bundle."""
    name, alias = examined.name, examined.alias
    present = listing.version_at(name, alias)
    compared_with = None if examined.champion is None else int(str(examined.champion.version))
    if present != compared_with:
        names = "no version" if present is None else f"version {present}"
        raise aliases.Overtaken(f"{alias} of {name} names {names} by now: compare with that one")
    for one in (examined.candidate, examined.champion):
        if one is not None and versions.resolve(one.source).digest != one.digest:
            raise aliases.Overtaken(f"version {one.version} of {name} was exchanged meanwhile")


def rollback(
    *,
    name: str,
    alias: str,
    by: str | None = None,
    signer: Signer | None = None,
    unsigned: bool = False,
) -> int:
    """Point the alias back at the version that it named before, and sign that one anew if there is a key.

    Returns that version. Raises RollbackRefused, Overtaken and SigningRefused; also SigningRefused if a
    service that asks for signatures would refuse the version, unless `unsigned`.
    """
    number = moves.rollback_target(name, alias)
    if signer is not None:
        signed_versions.vouched(signer, number, name)
    elif not unsigned and (present := listing.version_at(name, alias)) is not None:
        wanted, served = (versions.resolve(f"models:/{name}/{one}") for one in (number, present))
        if foreseen := signed_versions.foreseen(wanted.statement, f"version {number}", served):
            raise SigningRefused(f"{foreseen}; --sign KEY.pem signs it anew, --unsigned returns all the same")

    def ready(client: MlflowClient, returning: int) -> None:
        if returning != number:
            raise aliases.Overtaken(f"{alias} of {name} has been moved meanwhile: look at it again")
        if signer is not None:
            version = signed_versions.vouched(signer, number, name)
            signed_versions.sign(client, signer, name, number, str(version.digest))

    return moves.rollback(name=name, alias=alias, by=by, ready=ready)


def record(examined: Examination, outcome: str, why: str | None = None, by: str | None = None) -> str | None:
    """Record the report as a run. Returns its id, which the candidate's tag `examination.run` then holds.

    Without a difference and objections there is nothing to record: returns None.
    """
    if examined.difference is None and not examined.objections:
        return None
    figures = None if examined.difference is None else _figures(examined.difference)
    client = connection.connect()
    candidate = str(examined.candidate.version)
    run_name = f"examination of version {candidate}"
    with (
        failures.in_words("écriture du rapport de promotion"),
        mlflow.start_run(experiment_id=connection.experiment(client), run_name=run_name) as run,
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
                "reference.sha256": examined.portfolio_sha256 or "",
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
    return finite, pd.DataFrame(dict(report.table(difference))), report.figure(difference)
