"""What a training reached, and the model card that says so to people and, above its text, to machines."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from sklearn.metrics import roc_auc_score

from mlflow_model.features import CATALOGUE
from mlflow_model.scoring import DecisionPolicy
from training.fit import FOLDS
from training.policy import Costs, Doubles
from training.tables import APPLICATION


@dataclass(frozen=True)
class DataFile:
    """`rows` as read, `sha256` of the bytes: which data a model and its policy come from."""

    sha256: str
    rows: int


@dataclass(frozen=True)
class Results:
    """What the card tells. `known`: the share of clients with each feature. `unused`: features in no tree."""

    policy: DecisionPolicy
    costs: Costs
    metrics: Mapping[str, float]
    parameters: Mapping[str, object]
    data: Mapping[str, DataFile]
    known: Mapping[str, float]
    unused: tuple[str, ...]
    command: str


def data_files(rows: Mapping[Path, int]) -> dict[str, DataFile]:
    """The files by name, in the order of their names."""
    files = sorted(rows, key=lambda file: file.name)
    return {file.name: DataFile(_sha256(file), rows[file]) for file in files}


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def data_sha256(data: Mapping[str, DataFile]) -> str:
    """One digest for all files: that of what `sha256sum` prints for them, in the order of their names."""
    lines = (f"{data[name].sha256}  {name}\n" for name in sorted(data))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def metrics(
    target: pd.Series, probabilities: Doubles, policy: DecisionPolicy, costs: Costs
) -> dict[str, float]:
    """Figures on out-of-fold probabilities of shape (n,). The cost is the threshold's, with no grey zone."""
    defaulted = target.to_numpy() == 1
    labels = policy.decisions(probabilities)["prediction"]
    approved = labels == policy.reliable
    refused = probabilities > policy.threshold
    auc = float(roc_auc_score(defaulted, probabilities))
    figures = {
        "rows": len(defaulted),
        "base_rate": defaulted.mean(),
        "mean_probability": probabilities.mean(),
        "auc": auc,
        "auc_standard_error": _auc_standard_error(auc, int(defaulted.sum()), int((~defaulted).sum())),
        "brier": np.mean((probabilities - defaulted) ** 2),
        "cost_per_client": np.mean(
            costs.false_negative * (defaulted & ~refused) + costs.false_positive * (~defaulted & refused)
        ),
        "cost_per_client_lending_to_all": costs.false_negative * defaulted.mean(),
        "approval_rate": approved.mean(),
        "grey_rate": (labels == policy.uncertain).mean(),
        "default_rate_of_approved": (approved & defaulted).sum() / max(approved.sum(), 1),
    }
    return {name: float(value) for name, value in figures.items()}


def _auc_standard_error(auc: float, defaults: int, repaid: int) -> float:
    """Hanley and McNeil, Radiology 143 (1982), p. 29-36."""
    two_defaults, two_repaid = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (defaults - 1) * (two_defaults - auc**2) + (repaid - 1) * (two_repaid - auc**2)
    return float(np.sqrt(spread / (defaults * repaid)))


def summary(results: Results) -> str:
    return "\n".join(f"{name}: {value}" for name, value in _figures(results))


def card(results: Results, pickle_sha256: str) -> str:
    """Markdown under YAML front matter between `---` lines. Reads the same wherever it was made."""
    front_matter = yaml.safe_dump(_front_matter(results, pickle_sha256), sort_keys=False, width=120)
    return f"---\n{front_matter}---\n\n{_text(results)}"


def _front_matter(results: Results, pickle_sha256: str) -> dict[str, object]:
    return {
        "pickle_sha256": pickle_sha256,
        "policy": {
            "threshold": results.policy.threshold,
            "margin": results.policy.margin,
            "costs": asdict(results.costs),
            "threshold_chosen": "least cost on out-of-fold probabilities, the lowest of equals",
            "margin_chosen": "given on the command line or by its default",
            "data_sha256": data_sha256(results.data),
        },
        "metrics": dict(results.metrics),
        "parameters": dict(results.parameters),
        "data": {name: asdict(file) for name, file in results.data.items()},
        "command": results.command,
    }


_TEXT = """\
# Model card: lgbm_final_model

A gradient-boosted tree model (LightGBM) that estimates the probability that a client defaults on a loan, and
the policy that turns the probability into a decision. The training wrote this text and the block above it.

## Data

{clients} labelled clients, of whom {base_rate} defaulted, in tables of the layout of the public Kaggle
competition "Home Credit Default Risk":

{files}

The block above holds the digest of each file, and `policy.data_sha256` that of what `sha256sum` prints for
all of them, in the order of their names. What is known of the clients' past, and for how many of them:

{history}

## Protocol

Features are aggregated from the raw tables. A missing value stays missing: LightGBM learns what that means.
Classes are not weighted, so that the output is a probability. The figures come from {folds}-fold stratified
cross-validation: each client is scored by a model that has not seen that client. The delivered model is then
fitted on all of them with the same parameters.

The threshold is the one that costs least on these out-of-fold probabilities, when lending to a client who
defaults costs {false_negative} and refusing one who would repay costs {false_positive}. Of thresholds that
cost the same it is the lowest, which lends least. With perfect probabilities it would be {ideal}.
The margin was given, not estimated: within it, on either side, the decision is left to a loan officer.

## Figures

{figures}

The cost counts every client as decided by the threshold alone. The standard error is Hanley and McNeil's.

## Limits

- These are not the clients of the bank that will use the model. Measure AUC, calibration and cost on its own
  clients before a decision rests on them.
- The model was trained on {clients} clients. No feature of their past is known for more than {known} of them.
- With {defaults} defaults, a difference of AUC below {noise} (two standard errors) says little, and the
  cheapest threshold is uncertain too.
- The cost of the threshold is measured on the probabilities that chose it, which flatters it a little.
- Features in no tree, because too few clients have them or because they do not help: {unused}.
  The model learnt nothing about them, not even what their absence means.
- Only clients who were lent to have a label: the model never saw the outcome of a refused application.
- Fairness between groups of clients (gender, age) was not examined.

## How to reproduce

With the pinned dependencies of `requirements.txt`, and the files above in the folder DIR:

    {command}

On one machine, the same files and seed give the same trees to the last digit, for any number of threads.
"""


def _text(results: Results) -> str:
    metrics, costs = results.metrics, results.costs
    past = [f for f in CATALOGUE if f.table != APPLICATION and f.name in results.known]
    return _TEXT.format(
        clients=f"{metrics['rows']:,.0f}",
        base_rate=f"{metrics['base_rate']:.2%}",
        files=_table(("file", "rows"), ((name, f"{file.rows:,}") for name, file in results.data.items())),
        history=_table(
            ("table", "feature", "clients that have it"),
            ((f.table, f.name, f"{results.known[f.name]:.1%}") for f in past),
        ),
        folds=FOLDS,
        false_negative=f"{costs.false_negative:g}",
        false_positive=f"{costs.false_positive:g}",
        ideal=f"{costs.ideal_threshold:.4f}",
        figures=_table(("figure", "value"), _figures(results)),
        known=f"{max(results.known[f.name] for f in past):.1%}",
        defaults=f"{metrics['rows'] * metrics['base_rate']:,.0f}",
        noise=f"{2 * metrics['auc_standard_error']:.3f}",
        unused=", ".join(results.unused) or "none",
        command=results.command,
    )


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ("---",) * len(header), *rows))


def _figures(results: Results) -> Iterable[tuple[str, str]]:
    policy, values = results.policy, results.metrics
    yield "threshold and margin", f"{policy.threshold:.4f} ± {policy.margin:g}"
    yield "AUC", f"{values['auc']:.4f}, standard error {values['auc_standard_error']:.4f}"
    yield "Brier score", f"{values['brier']:.5f}"
    yield "mean probability", f"{values['mean_probability']:.2%}"
    yield "rate of defaults", f"{values['base_rate']:.2%}"
    yield "cost per client", f"{values['cost_per_client']:.4f}"
    yield "cost per client if all were lent to", f"{values['cost_per_client_lending_to_all']:.4f}"
    yield "clients approved", f"{values['approval_rate']:.1%}"
    yield "clients in the grey zone", f"{values['grey_rate']:.1%}"
    yield "defaults among the approved", f"{values['default_rate_of_approved']:.2%}"
