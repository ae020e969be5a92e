"""The model card: what a training found, for people and, in a YAML header above the text, for machines."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from training import search
from training.candidates import MODEL_FEATURES, unused_features
from training.experiment import FOLDS, TEST_SHARE, Outcome, Trial
from training.measures import RESAMPLINGS, Interval
from training.tables import LABEL


@dataclass(frozen=True)
class DataFile:
    """`rows` as read, `sha256` of the bytes: which data a model and its policy come from."""

    sha256: str
    rows: int


@dataclass(frozen=True)
class Source:
    """Where the clients come from: a sentence about them, the files that were read, and what trains again."""

    described: str
    files: Mapping[str, DataFile]
    command: str

    @property
    def sha256(self) -> str:
        """One digest for all files: that of what `sha256sum` prints for them, in the order of their names."""
        lines = (f"{self.files[name].sha256}  {name}\n" for name in sorted(self.files))
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def data_files(rows: Mapping[Path, int]) -> dict[str, DataFile]:
    """The files by name, in the order of their names."""
    files = sorted(rows, key=lambda file: file.name)
    return {file.name: DataFile(_sha256(file), rows[file]) for file in files}


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def summary(outcome: Outcome) -> str:
    """What the command line says at the end."""
    figures = "\n".join(f"{name}: {value}" for name, value in _figures(outcome))
    return f"best candidate: {outcome.champion.candidate.name}\n{_policy(outcome)}\n{figures}"


def card(outcome: Outcome, source: Source, pickle_sha256: str) -> str:
    """The text under YAML front matter between `---` lines. Reads the same wherever it was made."""
    header = _front_matter(outcome, source, pickle_sha256)
    front_matter = yaml.safe_dump(header, sort_keys=False, width=120)
    return f"---\n{front_matter}---\n\n{text(outcome, source)}"


def metrics(trial: Trial) -> dict[str, float]:
    """The figures on the test set by name, with `_low` and `_high` for their intervals."""
    return {
        name + suffix: bound
        for name, figure in trial.test.items()
        for suffix, bound in zip(("", "_low", "_high"), figure, strict=True)
    }


def _front_matter(outcome: Outcome, source: Source, pickle_sha256: str) -> dict[str, object]:
    champion, settings, searched = outcome.champion, outcome.settings, _searched_parameters(outcome)
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
        "metrics": {**metrics(champion), **_sizes(outcome)},
        "parameters": {**champion.candidate.parameters, "seed": settings.seed, "folds": FOLDS},
        **({} if searched is None else {"searched_parameters": dict(searched)}),
        "data": {name: asdict(file) for name, file in source.files.items()},
        "command": source.command,
    }


def _sizes(outcome: Outcome) -> dict[str, float]:
    test = outcome.test[LABEL]
    sizes = {
        "development_clients": float(len(outcome.development)),
        "test_clients": float(len(test)),
        "test_default_rate": float(test.mean()),
    }
    return sizes if outcome.truth is None else {**sizes, "auc_of_true_probabilities": outcome.truth.value}


_TEXT = """\
# Model card: {champion}

Gradient-boosted trees (LightGBM) estimate the probability that a client defaults; a policy turns it into a
decision.

## Data

{described}
{clients} labelled clients; {default_rate} of the test set defaulted. SHA-256 over the files:
`{data_sha256}`.

## Protocol

{test_share} of the clients were set aside, stratified. Everything was chosen on {folds}-fold out-of-fold
predictions for the others: the champion, the threshold and the margin. The candidates were then fitted on all
of the others, and the test set was used once. Intervals: 95 % of {resamplings} bootstraps.

{candidates}

The champion is the cheapest that can be delivered; among those whose difference in cost cannot be told from
zero, one that gives probabilities of default. The last column is out of fold.
{runner_up}

## Policy

Lending to a defaulter costs {false_negative}, refusing a client who would repay {false_positive}.
{policy}

## Figures on the test set

{figures}

The cost counts each client as decided by the threshold alone. ECE: ten bins of equal numbers of clients;
its interval is corrected for what the bootstrap adds.

## Fairness on the test set

Approved: below the grey zone. Equal opportunity: the share approved of those who repaid.

{fairness}

Of these attributes the model knows the age alone, as DAYS_BIRTH. Differences in approval follow those in
risk; whether they are acceptable is the bank's to judge.

## Limits

- These are not the clients of the bank that will use the model: measure AUC, calibration and cost on its own.
- Only clients who were lent to have a label: the model never saw the outcome of a refused application.
- In no tree, so that nothing was learnt about them, not even what their absence means: {unused}.

## How to reproduce

    {command}

With the pins of `requirements.txt`, on one machine, the same data and seed give the same trees to the last
digit, for any number of threads{searched}.
"""
_SEARCHED = """\
, but for {name}: the search stops by the clock, and may find
other parameters next time. This time it found {parameters}"""


def text(outcome: Outcome, source: Source) -> str:
    """The card for people, in markdown."""
    settings = outcome.settings
    return _TEXT.format(
        champion=outcome.champion.candidate.name,
        described=source.described,
        clients=f"{len(outcome.development) + len(outcome.test):,}",
        default_rate=f"{outcome.test[LABEL].mean():.2%}",
        data_sha256=source.sha256,
        test_share=f"{TEST_SHARE:.0%}",
        folds=FOLDS,
        resamplings=f"{RESAMPLINGS:,}",
        runner_up=_runner_up(outcome),
        candidates=_table(("candidate", "AUC", "cost", "cost over the champion's"), _candidates(outcome)),
        false_negative=f"{settings.costs.false_negative:g}",
        false_positive=f"{settings.costs.false_positive:g}",
        policy=_policy(outcome),
        figures=_table(("figure", "value [95 %]"), _figures(outcome)),
        fairness=_fairness(outcome),
        unused=", ".join(_unused(outcome)) or "none",
        command=source.command,
        searched=_searched(outcome),
    )


def _candidates(outcome: Outcome) -> Iterator[tuple[str, ...]]:
    for trial in outcome.trials:
        extra = "champion" if trial is outcome.champion else _short(trial.extra_cost)
        yield trial.candidate.name, _short(trial.test["auc"]), _short(trial.test["cost_per_client"]), extra
    if outcome.truth is not None:
        yield "the true probabilities", _short(outcome.truth), "", ""


def _runner_up(outcome: Outcome) -> str:
    others = (trial for trial in outcome.trials if trial is not outcome.champion)
    second = min(others, key=lambda trial: trial.extra_cost.value)
    extra = _short(second.extra_cost)
    return f"There the runner-up, {second.candidate.name}, costs {extra} more per client."


def _searched_parameters(outcome: Outcome) -> Mapping[str, Any] | None:
    found = (t.candidate for t in outcome.trials if t.candidate.name == search.NAME)
    return next((candidate.parameters for candidate in found), None)


def _searched(outcome: Outcome) -> str:
    parameters = _searched_parameters(outcome)
    if parameters is None:
        return ""
    listed = ", ".join(f"`{name}={value}`" for name, value in parameters.items())
    return _SEARCHED.format(name=search.NAME, parameters=listed)


def _policy(outcome: Outcome) -> str:
    champion, margin = outcome.champion, outcome.settings.margin
    threshold = champion.threshold
    return (
        f"Threshold {champion.policy.threshold:.4f}: {threshold.reason} "
        f"(theory {threshold.ideal:.4f}, cheapest {_short(threshold.optimum)}).\n"
        f"Margin {champion.policy.margin:.4f} ({margin.text}): {margin.meaning}."
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


def _figures(outcome: Outcome) -> Iterator[tuple[str, str]]:
    for name, figure in outcome.champion.test.items():
        yield _NAMES[name], _short(figure)


def _fairness(outcome: Outcome) -> str:
    tables = []
    for comparison in outcome.fairness:
        header = (comparison.attribute, "clients", "defaulted", "predicted", "approved", "equal opportunity")
        rows = [
            (
                group.name,
                f"{group.clients:,}",
                *(
                    f"{rate:.1%}"
                    for rate in (
                        group.default_rate,
                        group.mean_probability,
                        group.approval_rate,
                        group.equal_opportunity,
                    )
                ),
            )
            for group in comparison.groups
        ]
        rows.append(
            ("gap", "", "", "", f"{comparison.approval_gap:.1%}", f"{comparison.equal_opportunity_gap:.1%}")
        )
        tables.append(_table(header, rows))
    return "\n\n".join(tables) or "The data allows no comparison."


def _unused(outcome: Outcome) -> tuple[str, ...]:
    unused = unused_features(outcome.champion.model)
    return tuple(name for name in MODEL_FEATURES if name in unused)


def _short(figure: Interval) -> str:
    return f"{figure.value:.4f} [{figure.low:.4f}, {figure.high:.4f}]"


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ("---",) * len(header), *rows))
