"""Draws how much each feature weighs in the model, the heaviest first."""

from collections.abc import Sequence

from dashboard.model.plane import WIDTH, drawing, text
from dashboard.numbers import in_percent

_LEFT, _ROW = 285, 30
_COLOUR = "#5b7fa6"  # of no label: weights are neither good nor bad

Weight = tuple[str, float]


def weights(found: Sequence[Weight]) -> str:
    """`found`: what each feature is called, and its share of the whole."""
    ordered = sorted(found, key=lambda one: -one[1])
    per_share = (WIDTH - _LEFT - 80) / (ordered[0][1] or 1.0)
    rows = []
    for place, (name, share) in enumerate(ordered):
        width, y = max(share * per_share, 1.0), _ROW * place
        rows += [
            text(_LEFT - 10, y + 21, name, "end"),
            f'<rect x="{_LEFT}" y="{y + 5}" width="{width:.1f}" height="18" fill="{_COLOUR}"/>',
            text(_LEFT + width + 8, y + 21, in_percent(share), "start"),
        ]
    return drawing(told(found), rows, _ROW * len(ordered))


def told(found: Sequence[Weight]) -> str:
    """The drawing in words."""
    ordered = sorted(found, key=lambda one: -one[1])
    return "\u00a0; ".join(f"{name}\u00a0: {in_percent(share)}" for name, share in ordered) + "."
