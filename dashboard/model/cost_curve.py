"""Draws what each threshold would cost, with the grey zone, the threshold in force and one on paper."""

from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.labels import COLOURS
from dashboard.model.plane import Plane, drawing, end_of, text
from dashboard.numbers import fixed, in_percent

Threshold = Mapping[str, Any]


def cost_curve(thresholds: Sequence[Threshold], now: Threshold, tried: Threshold) -> str:
    shown = _shown(thresholds, now, tried)
    end = 1.0 if len(shown) == len(thresholds) else 0.5
    plane = Plane(end, end_of(max(one["cost_per_client"] for one in shown)))
    parts = [
        plane.band(now["lower_bound"], now["upper_bound"], COLOURS[1]),
        *plane.axes(lambda share: in_percent(share, 0), lambda cost: fixed(cost, 2)),
        plane.curve([(one["threshold"], one["cost_per_client"]) for one in shown]),
        plane.upright(now["threshold"]),
        _dot(plane, now),
        text(plane.x(now["upper_bound"]) + 6, 66, "zone grise actuelle", "start"),
        *plane.names("Seuil", "Coût par client"),
    ]
    if tried["threshold"] != now["threshold"]:
        parts += [plane.upright(tried["threshold"], dashed=True), _dot(plane, tried)]
        parts.append(text(plane.x(tried["threshold"]) + 6, 90, "seuil essayé", "start"))
    return drawing(told(thresholds, now, tried), parts)


def told(thresholds: Sequence[Threshold], now: Threshold, tried: Threshold) -> str:
    """The drawing in words."""
    least = min([now, *thresholds], key=lambda one: float(one["cost_per_client"]))
    said = (
        f"Coût par client selon le seuil\u00a0: {_cost(now)} au seuil actuel, {_percent(now)}\u00a0; au plus "
        f"bas {_cost(least)}, à {_percent(least)}. Zone grise de {in_percent(now['lower_bound'], 2)} à "
        f"{in_percent(now['upper_bound'], 2)}."
    )
    if tried["threshold"] == now["threshold"]:
        return said
    return f"{said} Au seuil essayé, {_percent(tried)}\u00a0: {_cost(tried)}."


def _shown(thresholds: Sequence[Threshold], now: Threshold, tried: Threshold) -> list[Threshold]:
    """Up to one half where nothing of interest lies above: few clients have such a probability."""
    highest = max(now["upper_bound"], tried["threshold"])
    half = [one for one in thresholds if one["threshold"] <= 0.5]
    return half if highest <= 0.45 and half else [*thresholds]


def _dot(plane: Plane, one: Threshold) -> str:
    x, y = plane.x(one["threshold"]), plane.y(one["cost_per_client"])
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" class="dot"/>'


def _cost(one: Threshold) -> str:
    return fixed(one["cost_per_client"], 3)


def _percent(one: Threshold) -> str:
    return in_percent(one["threshold"], 2)
