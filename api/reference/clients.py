"""Single reference clients: page by page, and those nearest to a client. Only of clients who do not exist."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from api.reference.errors import RealClients
from api.reference.scored import Scored
from explain import population
from explain.population import LEVELS, Distribution, Population
from journal.models import LABELS
from mlflow_model.bundle.scoring import Doubles
from quality.portfolio import TARGET

NEAREST = 50


def page(scored: Scored, after: int, limit: int) -> dict[str, Any]:
    """Up to `limit` clients behind the number `after`. Raises RealClients."""
    _check_drawn(scored)
    first = int(np.searchsorted(scored.numbers, after, side="right"))
    places = range(first, min(first + limit, len(scored)))
    shown = [_shown(scored, place) for place in places]
    more = first + limit < len(scored)
    return {"clients": shown, "next": shown[-1]["number"] if more else None}


def around(client: Mapping[str, Any], scored: Scored) -> dict[str, Any]:
    """The NEAREST clients, nearest first, and where this client stands. Raises RealClients."""
    _check_drawn(scored)
    features = scored.scorer.features
    row = np.array([math.nan if client[name] is None else float(client[name]) for name in features])
    known = _known(scored)
    far = distances(row, scored.matrix, [known.get(name) for name in features])
    nearest = np.argsort(far, kind="stable")[:NEAREST]
    return {
        "neighbours": [{**_shown(scored, place), "distance": float(far[place])} for place in nearest],
        "percentiles": {
            name: _percentile(value, known.get(name))
            for name, value in zip(features, row.tolist(), strict=True)
        },
    }


def distances(row: Doubles, matrix: Doubles, known: list[Distribution | None]) -> Doubles:
    """How far each row of the matrix is from this one: 0 for the same client, 1 at the most.

    The mean over the features of |rank - rank'|, where a value's rank is its level, from 0 to 1, among the
    quantiles of the training's clients: linear between two of them, the middle of the levels that share a
    value, and 0 or 1 beyond their ends. Two unknown values are 0 apart, an unknown and a known one 1. This is
    the coefficient of Gower (Biometrics 27, 1971) on ranks, so that one outlier does not shrink all other
    distances.
    """
    far = np.zeros(len(matrix))
    for place, distribution in enumerate(known):
        ranks = _ranks(np.append(matrix[:, place], row[place]), distribution)
        apart = np.abs(ranks[:-1] - ranks[-1])
        unknown = np.isnan(ranks)
        far += np.where(unknown[:-1] & unknown[-1], 0.0, np.where(np.isnan(apart), 1.0, apart))
    return far / len(known)


def _ranks(values: Doubles, distribution: Distribution | None) -> Doubles:
    """NaN stays NaN. A feature that nobody had has but one rank."""
    if distribution is None:
        return np.where(np.isnan(values), np.nan, 0.0)
    levels = np.array(LEVELS)
    quantiles, of = np.unique(distribution.quantiles, return_inverse=True)
    middles = np.bincount(of, levels) / np.bincount(of)
    return np.asarray(np.interp(values, quantiles, middles, left=0.0, right=1.0))


def _known(scored: Scored) -> Population:
    """The training's clients, or the reference's own for a feature of which the bundle tells nothing."""
    trained = population.of_scorer(scored.scorer)
    missing = {
        name: scored.matrix[:, place]
        for place, name in enumerate(scored.scorer.features)
        if name not in trained
    }
    return {**population.of_facts(population.of_clients(missing)), **trained}


def _percentile(value: float, distribution: Distribution | None) -> dict[str, float] | None:
    if distribution is None or math.isnan(value):
        return None
    below, above = distribution.shares(value)
    return {"below": below, "above": above}


def _shown(scored: Scored, place: int) -> dict[str, Any]:
    values = [None if value != value else value for value in scored.matrix[place].tolist()]
    number = int(scored.numbers[place])
    return {
        "number": number,
        "label": LABELS[scored.zones[place]],
        "probability_class_1": float(scored.probabilities[place]),
        "defaulted": _defaulted(scored, number),
        "features": dict(zip(scored.scorer.features, values, strict=True)),
    }


def _defaulted(scored: Scored, number: int) -> bool | None:
    """What became of the client; None where the portfolio does not tell it."""
    outcomes = scored.portfolio.columns.get(TARGET)
    outcome = None if outcomes is None else float(outcomes[number - 1])
    return bool(outcome) if outcome in (0.0, 1.0) else None


def _check_drawn(scored: Scored) -> None:
    if not scored.portfolio.is_drawn:
        raise RealClients
