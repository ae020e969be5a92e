"""The model card: what a training found, as text for people under a YAML header for machines."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from explain import population
from features.raw_tables import LABEL
from quality.bootstrap import RESAMPLINGS, Interval
from quality.costs import NEGLIGIBLE
from training.protocol import lessons, search
from training.protocol.candidates import MODEL_FEATURES, unused_features
from training.protocol.experiment import CandidateResult, Findings
from training.protocol.partition import FOLDS
from training.protocol.policy import Evidence, reviewed_costs
from training.results import doubts, fairness_tables, tables
from training.synthetic.calibration import AUC_OF_TRUTH


@dataclass(frozen=True)
class DataFile:
    """A file that a model and its policy come from: the SHA-256 of its bytes, and the rows that were read."""

    sha256: str
    rows: int


@dataclass(frozen=True)
class Source:
    """Where the clients come from: a sentence about them, their files, and the command that trains again."""

    described: str
    files: Mapping[str, DataFile]
    command: str

    @property
    def sha256(self) -> str:
        """One digest for all files: the digest of what `sha256sum` prints for them, sorted by name."""
        lines = (f"{self.files[name].sha256}  {name}\n" for name in sorted(self.files))
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def data_files(rows: Mapping[Path, int]) -> dict[str, DataFile]:
    """The files by name, sorted by name."""
    files = sorted(rows, key=lambda file: file.name)
    return {file.name: DataFile(_sha256(file), rows[file]) for file in files}


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def summary(findings: Findings) -> str:
    """The figures and the policy, as the command line prints them at the end."""
    figures = "\n".join(f"{name}: {value}" for name, value in _figures(findings))
    return f"champion: {findings.champion.candidate.name}\n{_policy(findings)}\n{figures}"


def card(findings: Findings, source: Source, pickle_sha256: str) -> str:
    """The whole card: YAML front matter between `---` lines, then the text. The same on every machine."""
    header = _front_matter(findings, source, pickle_sha256)
    front_matter = yaml.safe_dump(header, sort_keys=False, width=120)
    return f"---\n{front_matter}---\n\n{text(findings, source)}"


def metrics(result: CandidateResult) -> dict[str, float]:
    """The figures on the test set by name, and the ends of their intervals under `_low` and `_high`.

    Without those that these clients do not have.
    """
    return {
        name + suffix: bound
        for name, figure in result.test.items()
        for suffix, bound in zip(("", "_low", "_high"), figure, strict=True)
        if not math.isnan(bound)
    }


def _front_matter(findings: Findings, source: Source, pickle_sha256: str) -> dict[str, object]:
    champion, settings, searched = findings.champion, findings.settings, _searched_parameters(findings)
    return {
        "pickle_sha256": pickle_sha256,
        "policy": {
            "threshold": champion.policy.threshold,
            "margin": champion.policy.margin,
            "costs": asdict(settings.costs),
            "threshold_chosen": champion.threshold.reason,
            "threshold_in_theory": champion.threshold.ideal,
            "threshold_cheapest": champion.threshold.optimum._asdict(),
            "margin_chosen": f"{settings.margin.text}: {settings.margin.meaning}",
            "data_sha256": source.sha256,
        },
        "metrics": {**metrics(champion), **_sizes(findings)},
        "parameters": {**champion.candidate.parameters, "seed": settings.seed, "folds": FOLDS},
        **({} if searched is None else {"searched_parameters": dict(searched)}),
        "data": {name: asdict(file) for name, file in source.files.items()},
        "population": _population(findings),
        "command": source.command,
    }


class _OnOneLine(list[float]):
    """Numbers that the header holds on one line."""


yaml.SafeDumper.add_representer(
    _OnOneLine,
    lambda dumper, numbers: dumper.represent_sequence("tag:yaml.org,2002:seq", numbers, flow_style=True),
)


def _population(findings: Findings) -> dict[str, Any]:
    """What the clients were like that the model was fitted on, for the reasons of its decisions."""
    columns = {name: findings.development[name].to_numpy(np.float64) for name in MODEL_FEATURES}
    facts = population.of_clients(columns)
    return {name: {**kept, "quantiles": _OnOneLine(kept["quantiles"])} for name, kept in facts.items()}


def _sizes(findings: Findings) -> dict[str, float]:
    test = findings.test[LABEL]
    sizes = {
        "development_clients": float(len(findings.development)),
        "test_clients": float(len(test)),
        "test_default_rate": float(test.mean()),
    }
    return sizes if findings.truth is None else {**sizes, "auc_of_true_probabilities": findings.truth.value}


_TEXT = """\
# Model card: {champion}

Gradient-boosted trees (LightGBM) estimate the probability that a client defaults; a policy turns it into a
decision.

## Data

{described}
{clients} labelled clients; {default_rate} of the test set defaulted. SHA-256 over the files:
`{data_sha256}`.

## Protocol

{set_aside} Everything was chosen on {folds}-fold out-of-fold
predictions for the others: the champion, the threshold and the margin. The candidates were then fitted on all
of the others, and the test set was used once. Intervals: 95 % of {resamplings} bootstraps of
clients. They take the fitted model, the split and the data as given: another training would vary more.

A model was fitted on {hidden_share} of its clients as if they had no history, because applicants often have
none. {without_history}

{candidates}

The champion is the cheapest that can be delivered and gives probabilities of default, unless another one is
surely cheaper by more than {negligible}. The last column is out of fold, a chosen threshold chosen without
the client's fold. {runner_up}{doubts}

## Policy

Lending to a defaulter costs {false_negative}, refusing a client who would repay {false_positive}.
{policy}

## Figures on the test set

{figures}

The cost counts each client as decided by the threshold alone. ECE: ten bins of equal numbers of clients;
its interval is corrected for what the bootstrap adds.{generator}

## Fairness on the test set

Approved: below the grey zone. Equal opportunity: the share approved of those who repaid. Four fifths: the
rule of 29 CFR 1607.4(D).

{fairness}

The model knows the age: as DAYS_BIRTH, and from ANNUITY_BIRTH_RATIO with AMT_ANNUITY. It does not know the
sex, which other features may tell in part. Differences in approval follow those in risk; whether they are
acceptable is the bank's to judge.{artefact}

## Use

For the bank to fill in before anybody is decided on:

| | |
| --- | --- |
| intended use | decisions on consumer loans; a loan officer decides in the grey zone |
| excluded use | refusals that no person reviews; other kinds of credit; other countries than the data's |
| definition of default | TARGET; Home Credit's: late by over X days in one of the first Y instalments |
| horizon of default | Home Credit does not tell X and Y |
| representativeness for your applicants | |
| owner | |
| next review | |

## Limits

- These are not the clients of the bank that will use the model: measure AUC, calibration and cost on its own.
- Only clients who were lent to have a label: the model never saw the outcome of a refused application.
- In no tree, so that nothing was learnt about them, not even what their absence means: {unused}.

## How to reproduce

    {command}

With the pins of `requirements.txt`, on one machine, the same data and seed give the same trees to the last
digit, for any number of threads{searched}.
"""
_GENERATOR = """

The clients are drawn: these figures say how well the model agrees with a generator. The AUC of the
generator's own probabilities, {possible} over the whole population, follows from a scale that was chosen: it
says nothing of people. The project's `benchmarks/RESULTS.md` has figures on real clients."""
_ARTEFACT = """
In a drawn portfolio the outcome follows from the features alone: a difference between the sexes at the same
features is an artefact."""
_SEARCHED = """\
, but for {name}: the search stops by the clock, and may find
other parameters next time. This time it found {parameters}"""


def text(findings: Findings, source: Source) -> str:
    """The part of the card for people, in Markdown."""
    settings = findings.settings
    return _TEXT.format(
        champion=findings.champion.candidate.name,
        described=source.described,
        clients=f"{len(findings.development) + len(findings.test):,}",
        default_rate=f"{findings.test[LABEL].mean():.2%}",
        data_sha256=source.sha256,
        set_aside=_set_aside(findings),
        negligible=f"{NEGLIGIBLE * settings.costs.false_positive:g}",
        doubts=_doubts(findings),
        folds=FOLDS,
        resamplings=f"{RESAMPLINGS:,}",
        hidden_share=f"{100 * settings.hidden_share:g}%",
        without_history=_without_history(findings),
        runner_up=_runner_up(findings),
        candidates=tables.table(
            ("candidate", "AUC", "cost", "cost over the champion's"), _candidates(findings)
        ),
        false_negative=f"{settings.costs.false_negative:g}",
        false_positive=f"{settings.costs.false_positive:g}",
        policy=_policy(findings),
        figures=tables.table(("figure", "value [95 %]"), _figures(findings)),
        fairness=fairness_tables.section(findings.fairness),
        generator="" if findings.truth is None else _GENERATOR.format(possible=AUC_OF_TRUTH),
        artefact="" if findings.truth is None else _ARTEFACT,
        unused=", ".join(_unused(findings)) or "none",
        command=source.command,
        searched=_searched(findings),
    )


def _candidates(findings: Findings) -> Iterator[tuple[str, ...]]:
    for result in findings.results:
        extra = "champion" if result is findings.champion else _short(result.extra_cost)
        yield result.candidate.name, _short(result.test["auc"]), _short(result.test["cost_per_client"]), extra
    if findings.truth is not None:
        yield "the true probabilities", _short(findings.truth), "", ""


def _without_history(findings: Findings) -> str:
    """The price of it: clients who truly have no history are others than those whose history is hidden."""
    has_none = lessons.without_history(findings.test).to_numpy()
    if not has_none.any():
        return "All clients of the test set have one."
    predicted = findings.champion.probabilities[has_none].mean()
    return (
        f"Of the {has_none.sum():,} clients of the test set who truly have none, it predicts "
        f"{predicted:.2%} to default, and {findings.test[LABEL][has_none].mean():.2%} did."
    )


def _runner_up(findings: Findings) -> str:
    others = (result for result in findings.results if result is not findings.champion)
    second = min(others, key=lambda result: result.extra_cost.value)
    return f"There the runner-up, {second.candidate.name}, costs {_more(second.extra_cost)} per client."


def _more(extra: Interval) -> str:
    """A difference in cost in words: `0.0167 [0.0150, 0.0184] less`."""
    if extra.value >= 0:
        return f"{_short(extra)} more"
    return f"{_short(Interval(-extra.value, -extra.high, -extra.low))} less"


def _set_aside(findings: Findings) -> str:
    share = len(findings.test) / (len(findings.test) + len(findings.development))
    if findings.first_of_test is None:
        return f"{share:.0%} of the clients were set aside, stratified."
    first = findings.first_of_test
    shown = f"{first:.15g}" if isinstance(first, float) else str(first).removesuffix(" 00:00:00")
    return f"The last {share:.0%} of the clients, from {shown} on, were set aside."


def _doubts(findings: Findings) -> str:
    found = doubts.of(findings)
    return "\n".join(["\n", "Doubts:", "", *(f"- {doubt}" for doubt in found)]) if found else ""


def _searched_parameters(findings: Findings) -> Mapping[str, Any] | None:
    found = (t.candidate for t in findings.results if t.candidate.name == search.NAME)
    return next((candidate.parameters for candidate in found), None)


def _searched(findings: Findings) -> str:
    parameters = _searched_parameters(findings)
    if parameters is None:
        return ""
    listed = ", ".join(f"`{name}={value}`" for name, value in parameters.items())
    return _SEARCHED.format(name=search.NAME, parameters=listed)


def _policy(findings: Findings) -> str:
    champion, margin = findings.champion, findings.settings.margin
    threshold = champion.threshold
    return (
        f"Threshold {champion.policy.threshold:.4f}: {threshold.reason} "
        f"(theory {threshold.ideal:.4f}, cheapest {_in_hundredths(threshold.optimum)}).\n"
        f"Margin {champion.policy.margin:.4f} ({margin.text}): {margin.meaning}.{_reviewed(findings)}"
    )


def _reviewed(findings: Findings) -> str:
    """What the margin has minimised, if the rule asks what a review costs."""
    champion, review = findings.champion, findings.settings.margin.review
    if review is None:
        return ""
    evidence = Evidence(champion.threshold, champion.out_of_fold, True, findings.settings.costs)
    cost = reviewed_costs(evidence, review, champion.policy.margin)
    return (
        f"\nWith these reviews, never wrong, a client is expected to cost {cost.with_zone:.4f} out of fold: "
        f"{cost.without:.4f} without any, {cost.with_chows:.4f} with Chow's own zone, wider on one side."
    )


_NAMES = {
    "auc": "AUC",
    "gini": "Gini",
    "ks": "KS",
    "pr_auc": "PR-AUC",
    "brier": "Brier score",
    "ece": "ECE",
    "cost_per_client": "cost per client",
    "approval_rate": "approved",
    "grey_rate": "in the grey zone",
    "default_rate_of_approved": "defaults among the approved",
}


def _figures(findings: Findings) -> Iterator[tuple[str, str]]:
    for name, figure in findings.champion.test.items():
        yield _NAMES[name], "not known" if math.isnan(figure.value) else _short(figure)


def _unused(findings: Findings) -> tuple[str, ...]:
    unused = unused_features(findings.champion.model)
    return tuple(name for name in MODEL_FEATURES if name in unused)


def _in_hundredths(figure: Interval) -> str:
    """The cheapest threshold is not known to more: the cost is flat about it."""
    return f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}]"


def _short(figure: Interval) -> str:
    return f"{figure.value:.4f} [{figure.low:.4f}, {figure.high:.4f}]"
