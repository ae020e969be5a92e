"""`python -m benchmarks.changes`: what each change of the training brought, on drawn and on real clients.

Each step keeps those before it. A seed draws the same clients for each step; their outcomes, and with these
the stratified division, follow the label model of the step. On the real sample, the mean of the seeds is
compared with the step before, client by client.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks import portfolio_quality
from benchmarks.markdown import table
from features import raw_tables
from mlflow_model import arguments, command
from quality import measures
from quality.scores import Doubles, ScoredClients
from training import command_line
from training.protocol import candidates, experiment, lessons, partition, policy
from training.protocol.experiment import Settings
from training.synthetic import calibration, writing
from training.synthetic.calibration import CORRECTION, Correction

CLIENTS = 307_511
SEEDS = (0, 1, 2)
AS_FITTED = Correction(CORRECTION.feature, 0.0, 0.0)


@dataclass(frozen=True)
class Step:
    """A way to train: by which label model clients are drawn, and what is learnt from them."""

    name: str
    correction: Correction
    hidden_share: float = 0.0
    learns_probabilities: bool = False


STEPS = (
    Step("before", AS_FITTED),
    Step("the label model corrected", CORRECTION),
    Step("a quarter of the histories hidden", CORRECTION, lessons.HIDDEN_SHARE),
    Step("fitted on probabilities", CORRECTION, lessons.HIDDEN_SHARE, learns_probabilities=True),
)
FIGURES = 2  # that are compared: AUC and log loss
CONFIDENCE = 1.0 - 0.05 / (FIGURES * (len(STEPS) - 1))  # Bonferroni's, for 95 % in all
_STANDARD_ERRORS = NormalDist().inv_cdf((1.0 + CONFIDENCE) / 2)


class Fitted(NamedTuple):
    """A step's model of one seed. `below`: how far its AUC is below that of the true probabilities."""

    below: float
    calibration_error: float
    real: Doubles


def report(clients: int = CLIENTS, seeds: Sequence[int] = SEEDS, real: Path | None = None) -> str:
    """The table, as markdown. Without `real` its part is left out."""
    sample = None if real is None else portfolio_quality.features(real)
    with tqdm(total=len(seeds) * len(STEPS), unit=" models", disable=None) as bar:
        found = {seed: _fitted(clients, seed, sample, bar) for seed in seeds}
    title = f"{clients:,} drawn clients, seeds {', '.join(map(str, seeds))}; each step keeps those before it."
    if sample is None:
        return f"{title} The real sample was not at hand.\n\n{_table(found, None)}"
    compared = (
        f"On {len(sample):,} real clients, whose defaulters were among the rows that the label model was "
        f"fitted on: differences from the step before, with intervals of {CONFIDENCE:.2%}, so that all "
        f"{FIGURES * (len(STEPS) - 1)} of them hold together in 95 %."
    )
    return f"{title} {compared}\n\n{_table(found, sample)}"


def _fitted(clients: int, seed: int, real: pd.DataFrame | None, bar: tqdm) -> list[Fitted]:
    portfolios: dict[Correction, tuple[pd.DataFrame, pd.Series]] = {}
    found = []
    for step in STEPS:
        if step.correction not in portfolios:
            portfolios = {step.correction: _drawn(clients, seed, step.correction)}
        found.append(_of_step(step, seed, *portfolios[step.correction], real))
        bar.update()
    return found


def _drawn(clients: int, seed: int, correction: Correction) -> tuple[pd.DataFrame, pd.Series]:
    """Labelled clients and their true probabilities by a label model with this correction."""
    usual, calibration.CORRECTION = calibration.CORRECTION, correction
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "portfolio"
            writing.write_portfolio(clients, seed, folder)
            drawn = portfolio_quality.features(folder).dropna(subset=[raw_tables.LABEL])
            return drawn, portfolio_quality.true_probabilities(folder)
    finally:
        calibration.CORRECTION = usual


def _of_step(
    step: Step, seed: int, drawn: pd.DataFrame, truth: pd.Series, real: pd.DataFrame | None
) -> Fitted:
    parts = partition.by_chance(drawn, seed)
    development, test = drawn.iloc[parts.development], drawn.iloc[parts.test]
    settings = Settings(policy.margin_rule("0"), seed=seed, hidden_share=step.hidden_share, n_jobs=2)
    candidate = candidates.lightgbm(step.name, truth=truth if step.learns_probabilities else None)
    model = experiment.fitted(candidate, development, settings)
    scored = ScoredClients(test[raw_tables.LABEL], candidates.probabilities(model, test))
    possible = ScoredClients(test[raw_tables.LABEL], truth[test.index].to_numpy())
    return Fitted(
        measures.auc(possible.distribution()) - measures.auc(scored.distribution()),
        scored.calibration_error(scored.distribution()),
        np.empty(0) if real is None else candidates.probabilities(model, real),
    )


def _table(found: dict[int, list[Fitted]], real: pd.DataFrame | None) -> str:
    heads = ["step", "below the possible AUC, drawn", "ECE, drawn"]
    heads += [] if real is None else ["AUC, real", "ECE, real", "AUC, difference", "log loss, difference"]
    rows = []
    for place, step in enumerate(STEPS):
        of_seeds = [models[place] for models in found.values()]
        row = [step.name, _by_seed([one.below for one in of_seeds])]
        row.append(_by_seed([one.calibration_error for one in of_seeds]))
        if real is not None:
            target = real[raw_tables.LABEL].to_numpy(np.float64)
            before = [models[place - 1].real for models in found.values()] if place else None
            row += _on_real(target, [one.real for one in of_seeds], before)
        rows.append(row)
    return table(heads, rows)


def _on_real(target: Doubles, after: Sequence[Doubles], before: Sequence[Doubles] | None) -> list[str]:
    scored = [ScoredClients(target, one) for one in after]
    cells = [
        _by_seed([measures.auc(one.distribution()) for one in scored]),
        _by_seed([one.calibration_error(one.distribution()) for one in scored]),
    ]
    if before is None:
        return [*cells, "", ""]
    aucs, losses = [], []
    for one, other in zip(before, after, strict=True):
        now, then = (measures.auc(ScoredClients(target, some).distribution()) for some in (other, one))
        influence = measures.auc_influence(target, other) - measures.auc_influence(target, one)
        aucs.append(influence + (now - then))
        losses.append(_log_loss(target, other) - _log_loss(target, one))
    return [*cells, _mean(np.mean(aucs, axis=0)), _mean(np.mean(losses, axis=0))]


def _log_loss(target: Doubles, probabilities: Doubles) -> Doubles:
    return -np.where(target == 1, np.log(probabilities), np.log1p(-probabilities))


def _mean(of_each: Doubles) -> str:
    """The mean over clients, with the interval of CONFIDENCE by the normal approximation."""
    reach = _STANDARD_ERRORS * of_each.std(ddof=1) / np.sqrt(len(of_each))
    return f"{of_each.mean():+.4f} [{of_each.mean() - reach:+.4f}, {of_each.mean() + reach:+.4f}]"


def _by_seed(figures: Sequence[float]) -> str:
    return ", ".join(f"{figure:.4f}" for figure in figures)


def main(given: Sequence[str] | None = None) -> int:
    parser = arguments.Parser(prog="python -m benchmarks.changes", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--clients", type=command_line.clients, default=CLIENTS, help="(default: %(default)s)"
    )
    parser.add_argument("--real", type=Path, help="a folder of real tables")
    options = parser.parse_args(given)
    try:
        print(report(options.clients, real=options.real))
    except (NotADirectoryError, raw_tables.BadTable) as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    command.begin()
    command.run(main)
