"""Writes the card of a version whose threshold or margin its operator chose.

The figures of that policy on the reference clients come first, then the card of the training, whose figures
are those of the policy in the file.
"""

import math
from dataclasses import replace
from pathlib import Path

from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import Scorer
from mlflow_model.handover.card import ModelCard
from quality import costs
from quality.portfolio import REFERENCE, BadReference, Portfolio

# Of the training's figures, those that follow from the pickle's threshold and margin.
_OF_THE_POLICY = ("cost_per_client", "approval_rate", "grey_rate", "default_rate_of_approved")
_ABOUT_THE_FILE = (
    "What follows is the card of the file. Its threshold, its margin and the figures that depend on them are "
    "those of the policy in the file, not of this version's.\n\n"
)
_OF_THE_PICKLE, _ON_THE_REFERENCE = "pickle_policy.", "reference."


def card(bundle: Bundle, training: ModelCard, reference: Path = REFERENCE) -> ModelCard:
    """The card of this bundle. `training`: the card of the file that it was made from.

    Figures that cannot be measured, as where the reference lacks a feature, are left out, and the card says
    why.
    """
    try:
        portfolio = Portfolio.read(reference)
        measured = _measured(bundle.scorer(), portfolio, training)
        figures = "\n".join(_row(name, value) for name, value in measured.items())
        source = f"On {portfolio.name} (SHA-256 {portfolio.sha256}):"
        found = f"{source}\n\n| figure | value |\n| --- | --- |\n{figures}"
    except BadReference as problem:
        measured, found = {}, f"Its figures are not measured: {problem}."
    policy = bundle.policy
    text = (
        f"# A policy of the operator's\n\n"
        f"Threshold {policy['threshold']:.6g}, margin {policy['margin']:.6g}, given at the registration. "
        "The trees are those of the file.\n\n"
        f"{found}\n\n"
        f"{_ABOUT_THE_FILE if training.metrics else ''}{training.text}"
    )
    metrics = {_training_name(name): value for name, value in training.metrics.items()}
    metrics |= {f"{_ON_THE_REFERENCE}{name.replace(' ', '_')}": value for name, value in measured.items()}
    return replace(training, text=text, metrics=metrics)


def _training_name(name: str) -> str:
    return f"{_OF_THE_PICKLE}{name}" if name.startswith(_OF_THE_POLICY) else name


def _row(name: str, value: float) -> str:
    return f"| {name} | {value:,.0f} |" if name == "clients" else f"| {name} | {value:.4f} |"


def _measured(scorer: Scorer, portfolio: Portfolio, training: ModelCard) -> dict[str, float]:
    """The policy's figures on the clients whom the model accepts. Raises BadReference."""
    portfolio.require(scorer.features)
    known = portfolio.known
    accepted = portfolio.complete([name for name in scorer.features if name not in scorer.nullable])
    try:
        decisions = scorer.decide_table({name: known[name][accepted] for name in scorer.features})
    except scorer.Refusal as refusal:
        raise BadReference(f"the model refuses the reference portfolio: {refusal.detail}") from refusal
    labels, policy = decisions["prediction"], scorer.policy
    if not len(labels):
        raise BadReference("the model accepts no client of the reference portfolio")
    found = {
        "clients": float(len(labels)),
        "approved": float((labels == policy.reliable).mean()),
        "grey": float((labels == policy.uncertain).mean()),
        "refused": float((labels == policy.risky).mean()),
    }
    outcome = portfolio.outcome
    if outcome is not None:
        used = costs.usable(training.provenance.get("costs")) or costs.DEFAULT
        each = used.of_each(decisions["probability_class_1"], policy.threshold, outcome[accepted])
        approved = outcome[accepted][labels == policy.reliable]
        found["default rate of the approved"] = float(approved.mean()) if len(approved) else math.nan
        found["cost per client"] = float(each.mean())
    return {name: value for name, value in found.items() if not math.isnan(value)}
