"""Examines a candidate: compares it on the reference clients with the champion, and with an anchor.

The anchor is an earlier version that stays the same from one promotion to the next, so that many small steps
cannot lead far from it.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlflow_model.bundle import signing, trial
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.signing import Signer
from mlflow_model.errors import LoadingFailed
from mlflow_model.registry import fetching, listing, moves, signed_versions, versions
from mlflow_model.registry.aliases import Term
from mlflow_model.registry.versions import Reference
from promotion import comparison, cuts, gate, report
from promotion.comparison import Difference
from promotion.gate import Limits, Objection
from quality import costs
from quality.costs import Costs
from quality.portfolio import BadReference, Portfolio


@dataclass(frozen=True)
class Examination:
    """A candidate compared with the version that the alias names, if there is another one that can be loaded.

    `anchor_number`: that of the anchor; None if nothing was compared. `anchor`: the anchor, if it is neither
    the champion nor the candidate. `portfolio`: the reference; None if nothing was compared.
    `last_portfolio_sha256`: of the reference of the last promotion.
    """

    name: str
    alias: str
    champion: Reference | None
    candidate: Reference
    difference: Difference | None = None
    anchor_number: int | None = None
    anchor: Reference | None = None
    from_anchor: Difference | None = None
    objections: Sequence[Objection] = ()
    portfolio: Portfolio | None = None
    last_portfolio_sha256: str | None = None
    limits: Limits = field(default_factory=Limits)

    @property
    def is_of_the_champion(self) -> bool:
        return self.champion is not None and self.champion.version == self.candidate.version

    @property
    def text(self) -> str:
        if self.portfolio is None or self.champion is None:
            return f"{self.alias} of {self.name} names no other version: there is nothing to compare with"
        return "\n\n".join(
            [
                f"{self.name}: version {self.candidate.version} beside version {self.champion.version} "
                f"({self.alias})",
                report.origin(self.portfolio, self.last_portfolio_sha256),
                _compared(self.difference, self.portfolio),
                *self._beside_the_anchor,
            ]
        )

    @property
    def _beside_the_anchor(self) -> list[str]:
        if self.anchor is None:
            return []
        compared = "It could not be compared."
        if self.from_anchor is not None:
            compared = report.summary(self.from_anchor)
        return [f"Beside the anchor, version {self.anchor.version}:", compared]


def _compared(difference: Difference | None, portfolio: Portfolio) -> str:
    return "They could not be compared." if difference is None else report.lines(difference, portfolio)


@dataclass(frozen=True)
class _Answered:
    """A version's bundle and its answers on the reference portfolio."""

    version: str
    bundle: Bundle
    answers: trial.Answers


def examine(
    number: int,
    *,
    name: str,
    alias: str,
    reference_file: Path,
    limits: Limits,
    signer: Signer | None = None,
    anchor: int | None = None,
) -> Examination:
    """Verify the candidate, and compare it with the champion and the anchor on the reference portfolio.

    Each version runs in a limited process of its own, and only after its signature was checked. `anchor`: the
    number of a version; None for the first champion. Raises LoadingFailed, BadReference, SigningRefused.
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
    history = moves.history(name, alias)
    anchor_number = _first_champion(history) if anchor is None else _registered(name, anchor)
    portfolio = Portfolio.read(reference_file)
    answered = _Answered(str(number), bundle, _answers(bundle, portfolio))
    examined = replace(
        examined,
        anchor_number=anchor_number,
        objections=_foreseen(candidate, champion) if signer is None else [],
        portfolio=portfolio,
        last_portfolio_sha256=_last_portfolio(history),
        limits=limits,
    )
    examined, yardstick = _beside_champion(champion, examined, answered, portfolio, limits)
    if anchor_number in (present, number):
        return examined
    return _beside_anchor(anchor_number, examined, answered, portfolio, limits, yardstick)


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


def _foreseen(candidate: Reference, champion: Reference) -> list[Objection]:
    """The objection of a service that asks for signatures, if it has one."""
    objection = signed_versions.foreseen(candidate.statement, f"version {candidate.version}", champion)
    if objection is None:
        return []
    return [Objection(gate.SIGNATURE, f"{objection}; {signed_versions.way_out(candidate)}")]


def _beside_champion(
    champion: Reference,
    examined: Examination,
    candidate: _Answered,
    portfolio: Portfolio,
    limits: Limits,
) -> tuple[Examination, Costs]:
    """The examination with the candidate compared to the champion, and the costs that both are measured by.

    A champion that cannot be loaded is an objection and not an error: otherwise nobody could replace it.
    """
    try:
        present = _answered(champion, portfolio)
    except LoadingFailed as error:
        unreadable = f"the {examined.alias}, version {champion.version}, cannot be loaded ({error.detail})"
        objections = [Objection(gate.CHAMPION, unreadable), *examined.objections]
        return replace(examined, objections=objections), costs.DEFAULT
    yardstick = (costs.usable(_stated_costs(present.bundle)) or costs.DEFAULT).relative
    difference = _difference(present, candidate, portfolio, yardstick)
    objections = [
        *gate.objections(difference, limits),
        *_other_costs(candidate.bundle, yardstick),
        *_finer_splits(present.bundle, candidate.bundle, portfolio),
        *examined.objections,
    ]
    return replace(examined, difference=difference, objections=objections), yardstick


def _beside_anchor(
    number: int,
    examined: Examination,
    candidate: _Answered,
    portfolio: Portfolio,
    limits: Limits,
    yardstick: Costs,
) -> Examination:
    """The examination with the candidate compared to the anchor, by the champion's costs.

    An anchor that cannot be compared with is an objection and not an error, as a champion is.
    """
    anchor = Reference(f"models:/{examined.name}/{number}", examined.name, str(number))
    try:
        anchor = versions.resolve(anchor.source)
        difference = _difference(_answered(anchor, portfolio), candidate, portfolio, yardstick)
    except (LoadingFailed, BadReference) as error:
        detail = error.detail if isinstance(error, LoadingFailed) else error
        found = f"the anchor, version {number}, cannot be compared with ({detail}); --anchor names another"
        objections = [*examined.objections, Objection(gate.ANCHOR, found)]
        return replace(examined, anchor=anchor, objections=objections)
    objections = [*examined.objections, *gate.objections_to_drift(difference, limits, str(number))]
    return replace(examined, anchor=anchor, from_anchor=difference, objections=objections)


def _difference(other: _Answered, candidate: _Answered, portfolio: Portfolio, yardstick: Costs) -> Difference:
    """The candidate compared with another version, both called by their numbers. Raises BadReference."""
    names = (f"version {other.version}", f"version {candidate.version}")
    return comparison.compare(other.answers, candidate.answers, portfolio, yardstick, names)


def _answered(version: Reference, portfolio: Portfolio) -> _Answered:
    """Another version than the candidate. Raises LoadingFailed."""
    signing.check(str(version.digest), version.name, version.statement)
    bundle = fetching.download(version)
    return _Answered(str(version.version), bundle, _answers(bundle, portfolio))


def _answers(bundle: Bundle, portfolio: Portfolio) -> trial.Answers:
    with _in_folder(bundle) as folder:
        return trial.decide(folder, bundle.digest, portfolio.known)


@contextmanager
def _in_folder(bundle: Bundle) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="examined-") as folder:
        bundle.write(Path(folder) / bundle.digest)
        yield Path(folder) / bundle.digest


def _first_champion(history: Sequence[Term]) -> int:
    """The version that the alias named first. The alias names one now, so that there is a first."""
    return history[0].version


def _registered(name: str, number: int) -> int:
    """The number of a version that somebody named. Raises LoadingFailed if there is none."""
    versions.resolve(f"models:/{name}/{number}")
    return number


def _last_portfolio(history: Sequence[Term]) -> str | None:
    """The portfolio of the last move that followed an examination."""
    known = [term.portfolio for term in history if term.portfolio is not None]
    return known[-1] if known else None


def _stated_costs(bundle: Bundle) -> object:
    return bundle.policy["provenance"].get("costs")


def _other_costs(candidate: Bundle, yardstick: Costs) -> list[Objection]:
    """An objection if the candidate states other costs. Both models are measured by the champion's costs."""
    stated = _stated_costs(candidate)
    usable = costs.usable(stated)
    if stated is None or (usable is not None and usable.relative == yardstick):
        return []
    made_for = f"the candidate was made for the costs {_costs_in_words(stated)}, not {_in_words(yardstick)}"
    return [Objection(gate.COSTS, made_for)]


def _finer_splits(champion: Bundle, candidate: Bundle, portfolio: Portfolio) -> list[Objection]:
    """The objections to splits between roundings of one value that the champion has not, or has fewer of."""
    present = {cut.feature: cut.cuts for cut in cuts.of_bundle(champion, portfolio.columns)}
    return [
        Objection(gate.SPLITS, str(cut))
        for cut in cuts.of_bundle(candidate, portfolio.columns)
        if cut.cuts > present.get(cut.feature, 0)
    ]


def _costs_in_words(stated: object) -> str:
    usable = costs.usable(stated)
    return json.dumps(stated) if usable is None else _in_words(usable)


def _in_words(stated: Costs) -> str:
    return f"{stated.false_negative:g}:{stated.false_positive:g}"
