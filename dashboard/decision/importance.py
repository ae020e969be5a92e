"""Draws how much each feature weighs for this client, beside what it weighs in the model."""

from collections.abc import Sequence

from dashboard.numbers import in_percent
from dashboard.plane import WIDTH, drawing, text

_LEFT, _ROW = 285, 46
_OWN, _OF_MODEL = "#5b7fa6", "#9a9a9a"  # of no label: weights are neither good nor bad

Weight = tuple[str, float, float]  # what a feature is called, its share for the client, and in the model


def importance(weights: Sequence[Weight]) -> str:
    ordered = _ordered(weights)
    per_share = (WIDTH - _LEFT - 80) / (max(max(own, whole) for _, own, whole in ordered) or 1.0)
    rows = [
        f'<rect x="{_LEFT}" y="6" width="16" height="16" fill="{_OWN}"/>',
        text(_LEFT + 24, 21, "pour ce client", "start"),
        f'<rect x="{_LEFT + 170}" y="6" width="16" height="16" fill="{_OF_MODEL}"/>',
        text(_LEFT + 194, 21, "dans le modèle", "start"),
    ]
    for place, (name, own, whole) in enumerate(ordered, start=1):
        y = _ROW * place
        rows.append(text(_LEFT - 10, y + 24, name, "end"))
        for share, colour, top in ((own, _OWN, y), (whole, _OF_MODEL, y + 19)):
            width = max(share * per_share, 1.0)
            rows.append(f'<rect x="{_LEFT}" y="{top}" width="{width:.1f}" height="16" fill="{colour}"/>')
            rows.append(text(_LEFT + width + 8, top + 15, in_percent(share), "start"))
    return drawing(told(weights), rows, _ROW * (len(ordered) + 1))


def told(weights: Sequence[Weight]) -> str:
    """The drawing in words."""
    return (
        "\u00a0; ".join(
            f"{name}\u00a0: {in_percent(own)} pour ce client, {in_percent(whole)} dans le modèle"
            for name, own, whole in _ordered(weights)
        )
        + "."
    )


def _ordered(weights: Sequence[Weight]) -> list[Weight]:
    return sorted(weights, key=lambda one: -one[1])
