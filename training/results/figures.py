"""What a candidate looks like: one matplotlib figure per question, drawn from the test set.

Only what was chosen out of fold is also drawn out of fold.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from features.raw_tables import LABEL
from mlflow_model.bundle.scoring import DecisionPolicy
from quality.bootstrap import Interval
from quality.costs import CostCurve, cost_curve
from quality.scores import Bins, ScoredClients, ScoreDistribution
from training.protocol.candidates import MODEL_FEATURES, Doubles
from training.protocol.experiment import CandidateResult, Findings

_GOOD, _BAD, _GREY, _LINE = "#2a78b5", "#c8553d", "#b0b0b0", "#333333"
_SHAP_CLIENTS = 2_000


def of_candidate(findings: Findings, result: CandidateResult) -> dict[str, Figure]:
    """The figures by file name: importance and SHAP only for trees, and no figure at all for a constant."""
    clients = ScoredClients(findings.test[LABEL], result.probabilities)
    scores = clients.distribution()
    if len(scores.probabilities) == 1:
        return {}
    figures = {
        "roc": _roc(scores, result.test["auc"]),
        "precision_recall": _precision_recall(scores, result.test["pr_auc"]),
        "calibration": _calibration(clients.bins(scores), result.test["ece"]),
        "cost": _cost(*cost_curves(findings, result), result),
        "scores": _scores(findings.test[LABEL], result.probabilities, result.policy),
        "gains": _gains(scores),
    }
    if result.candidate.deliverable:
        figures["importance"] = _importance(result)
        figures["shap"] = _shap(result, findings.test)
    return figures


def cost_curves(findings: Findings, result: CandidateResult) -> tuple[CostCurve, CostCurve]:
    """The curve out of fold, on which the threshold was chosen, and the curve on the test set."""
    clients = ((findings.development, result.out_of_fold), (findings.test, result.probabilities))
    out_of_fold, test = (
        cost_curve(ScoredClients(some[LABEL], probabilities).distribution(), findings.settings.costs)
        for some, probabilities in clients
    )
    return out_of_fold, test


def of_comparison(findings: Findings) -> Figure:
    """Each candidate's out-of-fold cost per client, and its cost over the champion's, which is red."""
    figure, (left, right) = _figure(2, "Candidates, out of fold")
    results = findings.results
    names = [
        f"{result.candidate.name} (champion)" if result is findings.champion else result.candidate.name
        for result in results
    ]
    colours = [_BAD if result is findings.champion else _GOOD for result in results]
    costs = [result.out_of_fold_cost for result in results]
    _whiskers(left, costs, names, colours, "cost per client")
    extra_costs = [result.extra_cost for result in results]
    _whiskers(right, extra_costs, None, colours, "cost over the champion's")
    right.axvline(0.0, color=_GREY, linewidth=1)
    return figure


def _figure(panels: int, title: str) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(5.5 * panels, 4.2), layout="constrained")
    axes = [figure.add_subplot(1, panels, place + 1) for place in range(panels)]
    figure.suptitle(title)
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _labelled(panel: Axes, x: str, y: str) -> None:
    panel.set_xlabel(x)
    panel.set_ylabel(y)


def _whiskers(
    panel: Axes, figures: list[Interval], names: list[str] | None, colours: list[str], label: str
) -> None:
    places = np.arange(len(figures))[::-1]
    panel.hlines(places, [f.low for f in figures], [f.high for f in figures], color=colours)
    panel.scatter([f.value for f in figures], places, color=colours)
    panel.set_yticks(places, names or [""] * len(figures))
    panel.set_xlabel(f"{label} [95 %]")


def _roc(scores: ScoreDistribution, auc: Interval) -> Figure:
    figure, (panel,) = _figure(1, f"ROC: AUC {auc}")
    refused_bad, refused_good = (_share_above(part) for part in (scores.defaulted, scores.repaid))
    panel.plot(refused_good, refused_bad, color=_GOOD)
    panel.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1)
    _labelled(panel, "share of repaid loans refused", "share of defaults refused")
    return figure


def _precision_recall(scores: ScoreDistribution, area: Interval) -> Figure:
    figure, (panel,) = _figure(1, f"Precision and recall: area {area}")
    found = np.cumsum(scores.defaulted[::-1])
    drawn = np.cumsum((scores.defaulted + scores.repaid)[::-1])
    panel.step(found / found[-1], found / drawn, color=_GOOD, where="post")
    panel.axhline(found[-1] / drawn[-1], color=_GREY, linestyle="--", linewidth=1)
    _labelled(panel, "recall: share of defaults refused", "precision: defaults among the refused")
    panel.set_ylim(bottom=0)
    return figure


def _calibration(bins: Bins, ece: Interval) -> Figure:
    figure, (panel,) = _figure(1, f"Calibration: ECE {ece}")
    predicted = bins.expected / bins.clients
    low, rate, high = _wilson(bins.observed, bins.clients)
    panel.vlines(predicted, low, high, color=_GOOD)
    panel.plot(predicted, rate, "o", color=_GOOD, label="tenths of the clients, 95 %")
    end = max(predicted.max(), high.max()) * 1.05
    panel.plot([0, end], [0, end], color=_GREY, linestyle="--", linewidth=1)
    panel.legend(frameon=False)
    _labelled(panel, "mean predicted probability", "observed default rate")
    return figure


def _wilson(defaults: Doubles, clients: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Low ends, rates and high ends: Wilson's 95 % intervals (JASA 22, 1927)."""
    z, rate = 1.959964, defaults / clients
    centre = (rate + z**2 / (2 * clients)) / (1 + z**2 / clients)
    half = z / (1 + z**2 / clients) * np.sqrt(rate * (1 - rate) / clients + z**2 / (4 * clients**2))
    return centre - half, rate, centre + half


def _cost(out_of_fold: CostCurve, test: CostCurve, result: CandidateResult) -> Figure:
    figure, (panel,) = _figure(1, "Cost against threshold")
    policy, ideal, optimum = result.policy, result.threshold.ideal, result.threshold.optimum
    panel.axvspan(policy.lower_bound, policy.upper_bound, color=_GREY, alpha=0.35, label="grey zone")
    panel.stairs(test.cost, test.edges, baseline=None, color=_GOOD, alpha=0.3, label="test set")
    panel.stairs(out_of_fold.cost, out_of_fold.edges, baseline=None, color=_GOOD, label="out of fold")
    panel.axvline(policy.threshold, color=_BAD, label=f"threshold {policy.threshold:.4f}")
    panel.axvline(ideal, color=_LINE, linestyle=":", label=f"in theory {ideal:.4f}")
    least = float(out_of_fold.at(optimum.value))
    panel.hlines(least, optimum.low, optimum.high, color=_LINE, linewidth=2)
    panel.plot(optimum.value, least, "o", color=_LINE, label="cheapest out of fold, 95 %")
    panel.set_xlim(0, min(1.0, max(3 * policy.threshold, 1.1 * optimum.high)))
    panel.legend(framealpha=0.9, edgecolor="none", fontsize="small")
    _labelled(panel, "threshold", "cost per client")
    return figure


def _scores(target: pd.Series, probabilities: Doubles, policy: DecisionPolicy) -> Figure:
    figure, (panel,) = _figure(1, "Default probabilities by outcome")
    edges = np.linspace(0.0, max(float(np.quantile(probabilities, 0.995)), policy.upper_bound) * 1.02, 60)
    for outcome, colour, name in ((0, _GOOD, "repaid"), (1, _BAD, "defaulted")):
        of_outcome = probabilities[target.to_numpy() == outcome]
        weights = np.full(len(of_outcome), 1 / len(of_outcome))
        panel.hist(of_outcome, list(edges), weights=weights, color=colour, alpha=0.55, label=name)
    panel.axvspan(policy.lower_bound, policy.upper_bound, color=_GREY, alpha=0.35, label="grey zone")
    panel.legend(frameon=False)
    beyond = (probabilities > edges[-1]).mean()
    _labelled(
        panel,
        f"probability of default ({beyond:.1%} of the clients are further right)",
        "share of the clients of this outcome",
    )
    return figure


def _gains(scores: ScoreDistribution) -> Figure:
    figure, (panel,) = _figure(1, "Cumulative gains")
    panel.plot(_share_above(scores.defaulted + scores.repaid), _share_above(scores.defaulted), color=_GOOD)
    panel.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1)
    _labelled(panel, "share of clients, riskiest first", "share of all defaults among them")
    return figure


def _share_above(part: Doubles) -> Doubles:
    """The share of this part of the clients at or above each probability, from none to all."""
    return np.concatenate([[0.0], np.cumsum(part[::-1])]) / part.sum()


def _importance(result: CandidateResult) -> Figure:
    figure, (panel,) = _figure(1, "Feature importance by gain")
    gain = pd.Series(result.model.booster_.feature_importance("gain"), MODEL_FEATURES).sort_values()
    panel.barh(gain.index, gain / gain.sum(), color=_GOOD)
    panel.tick_params(axis="y", labelsize="small")
    panel.set_xlabel("share of the total gain")
    return figure


def _shap(result: CandidateResult, test: pd.DataFrame) -> Figure:
    """LightGBM's own SHAP values, exact for trees: Lundberg et al., Nature Machine Intelligence 2 (2020)."""
    shown = test[list(MODEL_FEATURES)].iloc[:_SHAP_CLIENTS]
    values = np.asarray(result.model.predict_proba(shown, pred_contrib=True))[:, :-1]
    figure, (panel,) = _figure(1, f"SHAP values of {len(shown):,} test clients")
    order = np.argsort(np.abs(values).mean(axis=0))
    scatter = np.random.default_rng(0).uniform(-0.3, 0.3, len(shown))
    for place, feature in enumerate(order):
        ranks = shown.iloc[:, feature].rank(pct=True)
        known = ranks.notna()
        panel.scatter(values[~known, feature], place + scatter[~known], s=2, color=_GREY)
        panel.scatter(values[known, feature], place + scatter[known], s=2, c=ranks[known], cmap="coolwarm")
    panel.set_yticks(np.arange(len(order)), [MODEL_FEATURES[feature] for feature in order], fontsize="small")
    panel.axvline(0.0, color=_LINE, linewidth=0.8)
    panel.set_xlabel("effect on the log-odds of default\n(blue: low value, red: high, grey: missing)")
    return figure
