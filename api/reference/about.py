"""What the served version is: its policy and its origin, its features and how much each of them weighs."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from api.delivery.served import Model
from explain import population
from explain.population import Distribution
from features.catalogue import BY_NAME
from mlflow_model.bundle import bundles
from mlflow_model.bundle.scoring import Scorer


def of(model: Model) -> dict[str, Any]:
    scorer, policy = model.scorer, model.scorer.policy
    bundle = None if model.copy is None else bundles.read_again(Path(model.copy.folder), model.digest)
    facts = model.facts
    labels = {"reliable": policy.reliable, "grey": policy.uncertain, "risky": policy.risky}
    return {
        **facts,
        "source": None if bundle is None else bundle.source,
        "policy": {
            **facts["policy"],
            "labels": labels,
            "provenance": None if bundle is None else bundle.provenance,
        },
        "explains": hasattr(scorer, "contributions"),
        "features": _features(scorer),
    }


def _features(scorer: Scorer) -> list[dict[str, Any]]:
    trained = population.of_scorer(scorer)
    text = getattr(scorer, "model_text", None)  # code of format 1 does not keep it
    shares: Sequence[float | None] = gain_shares(text, len(scorer.features)) if text else []
    shares = [*shares] or [None] * len(scorer.features)
    return [
        _feature(name, trained.get(name), share, nullable=name in scorer.nullable)
        for name, share in zip(scorer.features, shares, strict=True)
    ]


def _feature(
    name: str, trained: Distribution | None, share: float | None, *, nullable: bool
) -> dict[str, Any]:
    known = BY_NAME.get(name)
    return {
        "name": name,
        "label": None if known is None else known.label,
        "meaning": None if known is None else known.meaning,
        "unit": None if known is None else known.unit,
        "usual": None if known is None else [*known.usual],
        "nullable": nullable,
        "share_of_gain": share,
        "population": None
        if trained is None
        else {"missing": trained.missing, "quantiles": [*trained.quantiles]},
    }


def gain_shares(model_text: str, width: int) -> list[float]:
    """Each feature's share of what all splits together have gained, as LightGBM's text tells it.

    As `Booster.feature_importance("gain")`, in shares. All are 0 for a model without a split.
    """
    features = " ".join(re.findall(r"^split_feature=(.*)$", model_text, re.MULTILINE)).split()
    gains = " ".join(re.findall(r"^split_gain=(.*)$", model_text, re.MULTILINE)).split()
    sums = [0.0] * width
    for feature, gain in zip(features, gains, strict=True):
        sums[int(feature)] += float(gain)
    total = sum(sums)
    return [gained / total if total > 0 else 0.0 for gained in sums]
