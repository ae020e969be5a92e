"""`python -m benchmarks.quality`: all candidates on the synthetic test set, and on real clients.

Everything is learnt and chosen on clients who do not exist, by the protocol of
training/protocol/experiment.py. The real sample is asked once, and nothing is chosen by it.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks import portfolio_quality
from benchmarks.markdown import table
from features import raw_tables
from mlflow_model import command
from mlflow_model.bundle.scoring import DecisionPolicy
from quality import bootstrap, measures
from quality.bootstrap import Interval
from quality.costs import Costs
from quality.scores import ScoredClients
from training import command_line
from training.protocol import candidates, experiment, lessons, policy
from training.protocol.candidates import MODEL_FEATURES, Candidate, Doubles
from training.protocol.experiment import Findings, Settings
from training.synthetic import writing

CLIENTS = 307_511
SEED = 0
FEWEST_WITHOUT = 100
# A better external score means less risk: it is what such a score is made for.
DIRECTIONS = [-1 if name.startswith("EXT_SOURCE") else 0 for name in MODEL_FEATURES]

Clients = pd.DataFrame


@dataclass(frozen=True)
class Scored:
    """A model's probabilities for the synthetic test set and, where there is one, for the real sample."""

    name: str
    synthetic: Doubles
    real: Doubles | None


def report(
    clients: int = CLIENTS, portfolio: Path | None = None, real: Path | None = None, jobs: int = 2
) -> str:
    """The tables, as markdown. Without a portfolio one is drawn; without `real` its part is left out."""
    with tempfile.TemporaryDirectory() as scratch, tqdm(unit=" steps", disable=None) as bar:
        folder = portfolio or Path(scratch) / "portfolio"
        if portfolio is None:
            writing.write_portfolio(clients, SEED, folder)
        drawn = portfolio_quality.features(folder).dropna(subset=[raw_tables.LABEL])
        truth = portfolio_quality.true_probabilities(folder)
        settings = Settings(policy.margin_rule("0.02"), seed=SEED, n_jobs=jobs)
        findings = experiment.run(drawn, settings, lambda step: _show(bar, step), truth)
        parts = [f"Trained on {len(findings.development):,} synthetic clients.", _synthetic(findings)]
        if real is None:
            parts.append("The real sample was not at hand: its part is left out.")
        else:
            parts += [
                _on_real_clients(findings, portfolio_quality.features(real), bar),
                _by_absence(drawn, portfolio_quality.features(real)),
                _by_group(findings, portfolio_quality.features(real)),
                _likeness(folder, real),
            ]
    return "\n\n".join(parts)


def _show(bar: tqdm, step: str) -> None:
    bar.set_description(step, refresh=False)
    bar.update()


# ---- Clients who do not exist


def _synthetic(findings: Findings) -> str:
    heads = [
        "candidate",
        "AUC",
        "KS",
        "PR-AUC",
        "Brier",
        "ECE",
        "cost per client",
        "more than the champion, out of fold",
    ]
    shown = ("auc", "ks", "pr_auc", "brier", "ece", "cost_per_client")
    rows = [
        [result.candidate.name, *(str(result.test[name]) for name in shown), str(result.extra_cost)]
        for result in findings.results
    ]
    assert findings.truth is not None  # noqa: S101 - a drawn portfolio tells it
    rows.append(["the true probabilities", str(findings.truth), *[""] * 6])
    champion = findings.champion.test
    goals = [
        ("AUC of the champion", champion["auc"].value, "at least 0.765"),
        (
            "distance to the AUC of the true probabilities",
            findings.truth.value - champion["auc"].value,
            "at most 0.008",
        ),
        ("ECE of the champion, ten bins", champion["ece"].value, "at most 0.006"),
    ]
    title = f"On the {len(findings.test):,} synthetic clients of the test set, with 95 % bootstrap intervals."
    targets = table(["", "measured", "aim"], [[name, f"{value:.4f}", aim] for name, value, aim in goals])
    return f"{title}\n\n{table(heads, rows)}\n\n{targets}"


# ---- Real clients


def _on_real_clients(findings: Findings, real: Clients, bar: tqdm) -> str:
    settings, champion = findings.settings, findings.champion
    everyone = [*_of_the_candidates(findings, real), *_variants(findings, real, bar)]
    target = real[raw_tables.LABEL].to_numpy()
    reference = next(one for one in everyone if one.name == champion.candidate.name)
    rows = [_row(one, reference, findings.test, target, champion.policy, settings.costs) for one in everyone]
    rows += _learnt_on_real(reference, real, champion.policy, settings, bar)
    heads = [
        "learnt from synthetic clients, but for the last two",
        "AUC, synthetic",
        "AUC, real",
        "AUC above the champion's, paired",
    ]
    heads += ["ECE, real", "cost per client, real"]
    known = 1 - lessons.without_history(real).mean()
    title = (
        f"On {len(real):,} real labelled clients, {target.mean():.1%} of whom defaulted; {known:.1%} have a "
        "history here. The champion's threshold throughout. Aim: an AUC of 0.742, which a prototype reached "
        "by learning from 14,031 real clients, on another real sample. The aggregates that the synthetic "
        "clients are drawn from were fitted on 21,996 real rows, the defaulters here among them: the figures "
        "flatter."
    )
    return f"{title}\n\n{table(heads, rows)}"


def _of_the_candidates(findings: Findings, real: Clients) -> Iterator[Scored]:
    for result in findings.results:
        found = candidates.probabilities(result.model, real, findings.settings.n_jobs)
        yield Scored(result.candidate.name, result.probabilities, found)


def _variants(findings: Findings, real: Clients, bar: tqdm) -> Iterator[Scored]:
    """What might help on real clients, each thought of before any was measured."""
    champion, development, settings = findings.champion.candidate, findings.development, findings.settings
    name, truth = champion.name, champion.truth
    monotone = candidates.lightgbm(name, truth=truth, monotone_constraints=DIRECTIONS)
    larger = candidates.lightgbm(name, truth=truth, n_estimators=600, num_leaves=16)
    whole = replace(settings, hidden_share=0.0)
    variants: list[tuple[str, Candidate, Clients, Settings]] = [
        (f"{name}, no history hidden", champion, development, whole),
        (f"{name}, risk falls with each EXT_SOURCE", monotone, development, settings),
        (f"{name}, 600 trees of 16 leaves", larger, development, settings),
        (f"{name}, of 40,000 of the clients", champion, development.iloc[:40_000], settings),
    ]
    for shown, candidate, clients, chosen in variants:
        _show(bar, shown)
        model = experiment.fitted(candidate, clients, chosen)
        on_test, on_real = (candidates.probabilities(model, rows) for rows in (findings.test, real))
        yield Scored(shown, on_test, on_real)


# What real labels would give. The additive model has trees of one split.
ON_REAL: Mapping[str, Candidate] = {
    "LightGBM": candidates.lightgbm(""),
    "an additive model, risk falls with each EXT_SOURCE": candidates.lightgbm(
        "", num_leaves=2, n_estimators=600, monotone_constraints=DIRECTIONS
    ),
}


def _learnt_on_real(
    reference: Scored, real: Clients, chosen: DecisionPolicy, settings: Settings, bar: tqdm
) -> Iterator[list[str]]:
    """Models that learnt from the sample itself, out of fold."""
    target, whole = real[raw_tables.LABEL].to_numpy(), replace(settings, hidden_share=0.0)
    for shown, candidate in ON_REAL.items():
        name = f"{shown} learnt from the real sample itself, out of fold"
        found = experiment.out_of_fold(candidate, real, whole, lambda step: _show(bar, step))
        yield _row(Scored(name, np.empty(0), found), reference, None, target, chosen, settings.costs)


def _by_absence(drawn: Clients, real: Clients) -> str:
    """Default rates of those who lack a feature and of those who have it, drawn and real."""
    rows = []
    for name in MODEL_FEATURES:
        if min(clients[name].isna().sum() for clients in (drawn, real)) < FEWEST_WITHOUT:
            continue
        cells = [_rates(clients, name) for clients in (drawn, real)]
        rows.append([name, *(cell for pair in cells for cell in pair)])
    heads = ["feature", "drawn, without", "drawn, with", "real, without", "real, with"]
    title = f"Default rates by absence, of features that at least {FEWEST_WITHOUT} clients of both lack."
    return f"{title}\n\n{table(heads, rows)}"


def _rates(clients: Clients, name: str) -> list[str]:
    is_missing, defaulted = clients[name].isna(), clients[raw_tables.LABEL]
    return [
        f"{rate.mean():.1%} ± {1.96 * (rate.mean() * (1 - rate.mean()) / len(rate)) ** 0.5:.1%}"
        for rate in (defaulted[is_missing], defaulted[~is_missing])
    ]


def _by_group(findings: Findings, real: Clients) -> str:
    """How the champion's probabilities agree with what became of real groups."""
    champion = findings.champion
    found = candidates.probabilities(champion.model, real, findings.settings.n_jobs)
    rows = [
        [group.name, f"{group.clients:,}", f"{group.mean_probability:.1%}", _percent(group.default_rate)]
        for comparison in experiment.by_group(real, found, champion.policy, SEED)
        for group in comparison.groups
    ]
    title = "The champion on groups of the real sample. In a drawn portfolio the sexes differ by an artefact."
    return f"{title}\n\n{table(['group', 'clients', 'predicted', 'defaulted'], rows)}"


def _percent(figure: Interval) -> str:
    return f"{figure.value:.1%} [{figure.low:.1%}, {figure.high:.1%}]"


def _row(
    one: Scored,
    reference: Scored,
    test: Clients | None,
    target: Doubles,
    chosen: DecisionPolicy,
    costs: Costs,
) -> list[str]:
    assert one.real is not None  # noqa: S101 - asked for real clients only
    assert reference.real is not None  # noqa: S101
    figures = _figures(target, one.real, reference.real, chosen, costs)
    on_test = "" if test is None else f"{_auc(test[raw_tables.LABEL].to_numpy(), one.synthetic):.4f}"
    above = "" if one is reference else str(figures["above"])
    return [
        one.name,
        on_test,
        str(figures["auc"]),
        above,
        str(figures["ece"]),
        str(figures["cost_per_client"]),
    ]


def _figures(
    target: Doubles, probabilities: Doubles, reference: Doubles, chosen: DecisionPolicy, costs: Costs
) -> Mapping[str, Interval]:
    scored, other = (ScoredClients(pd.Series(target), found) for found in (probabilities, reference))

    def measured(counts: Doubles | None) -> Mapping[str, float]:
        figures = measures.measure(scored, chosen, costs, counts)
        return {**figures, "above": figures["auc"] - measures.auc(other.distribution(counts))}

    return bootstrap.intervals(len(scored), SEED, measured)


def _auc(target: Doubles, probabilities: Doubles) -> float:
    return measures.auc(ScoredClients(pd.Series(target), probabilities).distribution())


def _likeness(folder: Path, real: Path) -> str:
    """How much the drawn clients are like real ones."""
    figures = portfolio_quality.compare(folder, real)
    rows = [
        [figure.name, f"{figure.measured:.4g}", figure.target + ("" if figure.holds else ": missed")]
        for figure in figures
    ]
    return f"The drawn clients beside real ones.\n\n{table(['', 'measured', 'aim'], rows)}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("portfolio", type=Path, nargs="?", help="written by python -m training.synthetic")
    parser.add_argument(
        "--clients", type=command_line.clients, default=CLIENTS, help="to draw without (default: %(default)s)"
    )
    parser.add_argument("--real", type=Path, help="a folder of real tables")
    parser.add_argument("--jobs", type=int, default=2, help="threads (default: 2)")
    options = parser.parse_args(arguments)
    try:
        if options.portfolio is not None:
            portfolio_quality.require_portfolio(options.portfolio)
        page = report(options.clients, options.portfolio, options.real, options.jobs)
    except (NotADirectoryError, raw_tables.BadTable, experiment.TooFewClients) as error:
        parser.error(str(error))
    print(page)
    return 0


if __name__ == "__main__":
    command.begin()
    command.run(main)
