"""Explains one decision: the decision itself, what each feature adds to it, reasons and warnings in words."""

import math
import weakref
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from explain import contributions, guard_rails, population, reasons
from explain.contributions import NotExact
from explain.population import Population
from mlflow_model.bundle.scoring import Scorer
from mlflow_model.errors import CannotExplain

_populations: weakref.WeakKeyDictionary[Scorer, Population] = weakref.WeakKeyDictionary()


def of(scorer: Scorer, client: Mapping[str, Any], decision: Mapping[str, Any]) -> dict[str, Any]:
    """The explanation of a decision that the scorer has made about this client. Raises CannotExplain."""
    if not hasattr(scorer, "contributions"):
        raise CannotExplain
    values = [math.nan if client[name] is None else float(client[name]) for name in scorer.features]
    try:
        found = contributions.of_row(scorer, values, decision["probability_class_1"])
    except NotExact as error:
        raise CannotExplain from error
    points, others = found.points, _population(scorer)
    speaking_for, against = reasons.of(scorer.features, values, points, others)
    cautions = guard_rails.of(
        dict(zip(scorer.features, values, strict=True)),
        decision["probability_class_1"],
        scorer.policy,
        others,
    )
    return {
        "decision": dict(decision),
        "base_log_odds": found.base,
        "log_odds": found.log_odds,
        "contributions": [
            {"feature": name, "value": client[name], "log_odds": part, "points": its_points}
            for name, part, its_points in zip(scorer.features, found.of_each, points, strict=True)
        ],
        "reasons": {
            "for": [asdict(one) for one in speaking_for],
            "against": [asdict(one) for one in against],
        },
        "warnings": [asdict(one) for one in cautions],
    }


def _population(scorer: Scorer) -> Population:
    """Read once for each version."""
    known = _populations.get(scorer)
    if known is None:
        known = _populations[scorer] = population.of_facts(scorer.population)
    return known
