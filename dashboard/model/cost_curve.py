"""Draws what each threshold would cost, with the grey zone, the threshold in force and one on paper."""

from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.labels import COLOURS
from dashboard.numbers import fixed, in_percent
from dashboard.plane import Plane, drawing, end_of

Threshold = Mapping[str, Any]

_COST = "Coût de 100 clients"


def drawn(thresholds: Sequence[Threshold], now: Threshold, tried: Threshold) -> str:
    shown = _shown(thresholds, now, tried)
    end = 1.0 if len(shown) == len(thresholds) else 0.5
    plane = Plane(end, end_of(max(map(_cost, shown))))
    decimals = 0 if plane.top >= 5 else 2  # an axis has five steps
    parts = [
        plane.band(now["lower_bound"], now["upper_bound"], COLOURS[1]),
        *plane.axes(lambda share: in_percent(share, 0), lambda cost: fixed(cost, decimals)),
        plane.curve([(one["threshold"], _cost(one)) for one in shown]),
        plane.upright(now["threshold"]),
        plane.dot(now["threshold"], _cost(now)),
        *plane.names("Seuil", _COST),
    ]
    if tried["threshold"] != now["threshold"]:
        parts += [plane.upright(tried["threshold"], dashed=True), plane.dot(tried["threshold"], _cost(tried))]
    return drawing(told(thresholds, now, tried), parts)


def told(thresholds: Sequence[Threshold], now: Threshold, tried: Threshold) -> str:
    """The drawing in words."""
    least = min([now, *thresholds], key=_cost)
    said = (
        f"{_COST} selon le seuil\u00a0: {_in_words(now)} au seuil actuel, {_percent(now)}\u00a0; au plus "
        f"bas {_in_words(least)}, à {_percent(least)}. Zone grise de {in_percent(now['lower_bound'], 2)} à "
        f"{in_percent(now['upper_bound'], 2)}."
    )
    if tried["threshold"] == now["threshold"]:
        return said
    return f"{said} Au seuil essayé, {_percent(tried)}\u00a0: {_in_words(tried)}."


def _shown(thresholds: Sequence[Threshold], now: Threshold, tried: Threshold) -> list[Threshold]:
    """Up to one half where nothing of interest lies above: few clients have such a probability."""
    highest = max(now["upper_bound"], tried["threshold"])
    half = [one for one in thresholds if one["threshold"] <= 0.5]
    return half if highest <= 0.45 and half else [*thresholds]


def _cost(one: Threshold) -> float:
    return 100 * float(one["cost_per_client"])


def _in_words(one: Threshold) -> str:
    return fixed(_cost(one), 2)


def _percent(one: Threshold) -> str:
    return in_percent(one["threshold"], 2)
