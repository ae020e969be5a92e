"""What the served version does to the reference clients, in totals.

Their edges are quantiles, which of a few clients would be the values of one of them.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from api.reference import about, words
from api.reference.errors import TooFewRealClients
from api.reference.scored import Scored, zones_by
from journal.models import LABELS
from mlflow_model.bundle import bundles
from mlflow_model.bundle.scoring import Doubles
from quality import costs, fairness, measures
from quality.bootstrap import Interval
from quality.costs import Costs
from quality.scores import ScoredClients

FEWEST_REAL = 1_000  # clients of whom totals are told, if they may be real
BINS = 100  # of default probabilities, from 0 to 1
FEATURE_BINS = 20
STEPS = 200  # thresholds that are tried: 1/200, 2/200, …
_SEED = 0


def of(scored: Scored) -> dict[str, Any]:
    """Raises TooFewRealClients."""
    if len(scored) < FEWEST_REAL and not scored.portfolio.is_drawn:
        raise TooFewRealClients(FEWEST_REAL)
    return _totals(scored)


@functools.lru_cache(maxsize=1)
def _totals(scored: Scored) -> dict[str, Any]:
    by = _costs(scored)
    return {
        "reference": _origin(scored),
        "costs": asdict(by),
        "labels": _labels(scored),
        "histogram": _histogram(scored),
        **_of_outcomes(scored, by),
        "thresholds": _thresholds(scored, by),
        "now": _at(scored, by, scored.scorer.policy.threshold),
        "features": [_feature(scored, place) for place in range(len(scored.scorer.features))],
    }


def _costs(scored: Scored) -> Costs:
    """Those of the policy, or the usual ones where it states none."""
    copy = scored.model.copy
    if copy is None:
        return costs.DEFAULT
    policy = bundles.read_again(Path(copy.folder), scored.model.digest).policy
    return costs.usable(about.provenance(policy).get("costs")) or costs.DEFAULT


def _origin(scored: Scored) -> dict[str, Any]:
    portfolio = scored.portfolio
    return {
        "name": portfolio.name,
        "sha256": portfolio.sha256,
        "origin": portfolio.origin,
        "is_drawn": portfolio.is_drawn,
        "outcome": portfolio.outcome_name,
        "clients": len(scored),
        "left_out": scored.left_out,
        "of": len(portfolio),
    }


def _labels(scored: Scored) -> dict[str, Any]:
    return {label: _group(scored, scored.zones == zone) for zone, label in enumerate(LABELS)}


def _histogram(scored: Scored) -> list[dict[str, Any]]:
    bins = np.minimum((scored.probabilities * BINS).astype(np.int64), BINS - 1)
    return [{"from": place / BINS, **_group(scored, bins == place)} for place in range(BINS)]


def _group(scored: Scored, members: Any) -> dict[str, Any]:
    """How many clients, and how many of them default, as far as that is known."""
    defaults = None if scored.outcome is None else float(scored.outcome[members].sum())
    return {"clients": int(members.sum()), "defaults": defaults}


def _feature(scored: Scored, place: int) -> dict[str, Any]:
    """The clients of each label by the value of one feature: the outer one in a hundred in the outer bins."""
    values = scored.matrix[:, place]
    is_known = ~np.isnan(values)
    edges = _edges(values[is_known])
    clients = {}
    for zone, label in enumerate(LABELS):
        of_zone = values[is_known & (scored.zones == zone)]
        clients[label] = np.histogram(np.clip(of_zone, edges[0], edges[-1]), edges)[0].tolist()
    unknown = np.bincount(scored.zones[~is_known], minlength=len(LABELS))
    return {
        "name": scored.scorer.features[place],
        "edges": edges.tolist(),
        "clients": clients,
        "unknown": dict(zip(LABELS, unknown.tolist(), strict=True)),
    }


def _edges(known: Doubles) -> Doubles:
    """One bin where nearly all values are the same, or where there is none."""
    low, high = np.quantile(known, (0.01, 0.99)) if len(known) else (0.0, 0.0)
    return np.linspace(low, high, FEATURE_BINS + 1 if high > low else 2)


# ---- With outcomes


def _of_outcomes(scored: Scored, by: Costs) -> dict[str, Any]:
    """None where the portfolio tells no outcome."""
    if scored.outcome is None:
        return dict.fromkeys(("figures", "calibration", "fairness"))
    clients = ScoredClients(scored.outcome, scored.probabilities)
    figures = measures.measure(clients, scored.scorer.policy, by)
    bins = clients.bins(clients.distribution())
    return {
        "figures": {name: _known(value) for name, value in figures.items()},
        "calibration": [
            {"clients": int(size), "predicted": float(expected / size), "observed": float(observed / size)}
            for size, expected, observed in zip(*bins, strict=True)
        ],
        "fairness": _fairness(scored, scored.outcome),
    }


def _fairness(scored: Scored, outcome: Doubles) -> list[dict[str, Any]]:
    attributes = {name: scored.of(groups) for name, groups in scored.portfolio.attributes.items()}
    found = fairness.compare(attributes, outcome, scored.probabilities, scored.scorer.policy, _SEED)
    return [
        {
            "attribute": words.ATTRIBUTES[one.attribute],
            "groups": [_of_group(group) for group in one.groups],
            "approval_ratio": _interval(one.approval_ratio),
            "is_below_four_fifths": one.is_below_four_fifths,
            "opportunity_gap": _interval(one.opportunity_gap),
        }
        for one in found
    ]


def _of_group(group: fairness.Group) -> dict[str, Any]:
    return {
        "name": words.GROUPS[group.name],
        "clients": group.clients,
        "default_rate": _interval(group.default_rate),
        "mean_probability": group.mean_probability,
        "approval_rate": _interval(group.approval_rate),
        "equal_opportunity": _known(group.equal_opportunity),
    }


def _interval(found: Interval | None) -> Mapping[str, float | None] | None:
    return None if found is None else {name: _known(value) for name, value in found._asdict().items()}


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


# ---- Another threshold


def _thresholds(scored: Scored, by: Costs) -> list[dict[str, Any]]:
    return [_at(scored, by, step / STEPS) for step in range(1, STEPS)]


def _at(scored: Scored, by: Costs, threshold: float) -> dict[str, Any]:
    """What the policy would do with this threshold, and its own margin as far as that fits.

    `changed`: how many clients would have another label than now.
    """
    own = scored.scorer.policy
    policy = replace(own, threshold=threshold, margin=min(own.margin, threshold, 1.0 - threshold))
    zones = zones_by(policy, scored.probabilities)
    return {
        "threshold": threshold,
        "lower_bound": policy.lower_bound,
        "upper_bound": policy.upper_bound,
        **{label: int((zones == zone).sum()) for zone, label in enumerate(LABELS)},
        "changed": int((zones != scored.zones).sum()),
        **_charged(scored, by, threshold, zones == 0),
    }


def _charged(scored: Scored, by: Costs, threshold: float, is_reliable: Any) -> dict[str, float | None]:
    if scored.outcome is None:
        return {"cost_per_client": None, "defaults_of_reliable": None}
    cost = by.of_each(scored.probabilities, threshold, scored.outcome).mean()
    return {"cost_per_client": float(cost), "defaults_of_reliable": float(scored.outcome[is_reliable].sum())}
