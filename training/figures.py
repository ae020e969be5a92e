"""What a candidate looks like: a matplotlib figure a question, on the test set but for what was chosen."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlflow_model.scoring import DecisionPolicy
from training import measures
from training.candidates import MODEL_FEATURES, Doubles
from training.experiment import Outcome, Trial
from training.measures import Bins, CostCurve, Interval, ScoredClients, Tally
from training.tables import LABEL

_GOOD, _BAD, _GREY, _LINE = "#2a78b5", "#c8553d", "#b0b0b0", "#333333"
_SHAP_CLIENTS = 2_000


def of_trial(outcome: Outcome, trial: Trial) -> dict[str, Figure]:
    """The figures by file name. Importance and SHAP only for trees, and none at all for a constant."""
    clients = ScoredClients(outcome.test[LABEL], trial.probabilities)
    tally = clients.tally()
    if len(tally.probabilities) == 1:
        return {}
    figures = {
        "roc": _roc(tally, trial.test["auc"]),
        "precision_recall": _precision_recall(tally, trial.test["pr_auc"]),
        "calibration": _calibration(clients.bins(tally), trial.test["ece"]),
        "cost": _cost(*cost_curves(outcome, trial), trial),
        "scores": _scores(outcome.test[LABEL], trial.probabilities, trial.policy),
        "gains": _gains(tally),
    }
    if trial.candidate.deliverable:
        figures["importance"] = _importance(trial)
        figures["shap"] = _shap(trial, outcome.test)
    return figures


def cost_curves(outcome: Outcome, trial: Trial) -> tuple[CostCurve, CostCurve]:
    """Out of fold, where the threshold was chosen, and on the test set."""
    clients = ((outcome.development, trial.out_of_fold), (outcome.test, trial.probabilities))
    out_of_fold, test = (
        measures.cost_curve(ScoredClients(some[LABEL], scores).tally(), outcome.settings.costs)
        for some, scores in clients
    )
    return out_of_fold, test


def of_comparison(outcome: Outcome) -> Figure:
    """Each candidate's out-of-fold cost per client, and how much more it costs than the best, in red."""
    figure, (left, right) = _figure(2, "Candidates, out of fold")
    trials = outcome.trials
    names = [t.candidate.name + " (best)" * (t is outcome.champion) for t in trials]
    colours = [_BAD if t is outcome.champion else _GOOD for t in trials]
    _whiskers(left, [t.out_of_fold_cost for t in trials], names, colours, "cost per client")
    _whiskers(right, [t.extra_cost for t in trials], None, colours, "cost over the best candidate's")
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


def _roc(tally: Tally, auc: Interval) -> Figure:
    figure, (panel,) = _figure(1, f"ROC: AUC {auc}")
    refused_bad, refused_good = (_share_above(part) for part in (tally.defaulted, tally.repaid))
    panel.plot(refused_good, refused_bad, color=_GOOD)
    panel.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1)
    _labelled(panel, "share of repaid loans refused", "share of defaults refused")
    return figure


def _precision_recall(tally: Tally, area: Interval) -> Figure:
    figure, (panel,) = _figure(1, f"Precision and recall: area {area}")
    found = np.cumsum(tally.defaulted[::-1])
    drawn = np.cumsum((tally.defaulted + tally.repaid)[::-1])
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
    """The rates between the ends of Wilson's 95 % intervals (JASA 22, 1927)."""
    z, rate = 1.959964, defaults / clients
    centre = (rate + z**2 / (2 * clients)) / (1 + z**2 / clients)
    half = z / (1 + z**2 / clients) * np.sqrt(rate * (1 - rate) / clients + z**2 / (4 * clients**2))
    return centre - half, rate, centre + half


def _cost(out_of_fold: CostCurve, test: CostCurve, trial: Trial) -> Figure:
    figure, (panel,) = _figure(1, "Cost against threshold")
    policy, ideal, optimum = trial.policy, trial.threshold.ideal, trial.threshold.optimum
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


def _gains(tally: Tally) -> Figure:
    figure, (panel,) = _figure(1, "Cumulative gains")
    panel.plot(_share_above(tally.defaulted + tally.repaid), _share_above(tally.defaulted), color=_GOOD)
    panel.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1)
    _labelled(panel, "share of clients, riskiest first", "share of all defaults among them")
    return figure


def _share_above(part: Doubles) -> Doubles:
    """The share of a part at or above each probability, from none to all."""
    return np.concatenate([[0.0], np.cumsum(part[::-1])]) / part.sum()


def _importance(trial: Trial) -> Figure:
    figure, (panel,) = _figure(1, "Feature importance by gain")
    gain = pd.Series(trial.model.booster_.feature_importance("gain"), MODEL_FEATURES).sort_values()
    panel.barh(gain.index, gain / gain.sum(), color=_GOOD)
    panel.tick_params(axis="y", labelsize="small")
    panel.set_xlabel("share of the total gain")
    return figure


def _shap(trial: Trial, test: pd.DataFrame) -> Figure:
    """As LightGBM gives them, exact for trees: Lundberg et al., Nature Machine Intelligence 2 (2020)."""
    shown = test[list(MODEL_FEATURES)].iloc[:_SHAP_CLIENTS]
    values = np.asarray(trial.model.predict_proba(shown, pred_contrib=True))[:, :-1]
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
