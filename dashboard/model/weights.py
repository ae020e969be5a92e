"""Draws how much each feature weighs in the model, the heaviest first."""

from collections.abc import Sequence

from dashboard.numbers import in_percent
from dashboard.plane import WIDTH, drawing, text

_LEFT, _ROW = 285, 30
_LEAST = 0.001  # that one decimal of a per cent can say
_COLOUR = "#5b7fa6"  # of no label: weights are neither good nor bad

Weight = tuple[str, float]


def drawn(found: Sequence[Weight]) -> str:
    """`found`: what each feature is called, and its share of the whole."""
    ordered = sorted(found, key=lambda one: -one[1])
    per_share = (WIDTH - _LEFT - 80) / (ordered[0][1] or 1.0)
    rows = []
    for place, (name, share) in enumerate(ordered):
        width, y = max(share * per_share, 1.0), _ROW * place
        rows += [
            text(_LEFT - 10, y + 21, name, "end"),
            f'<rect x="{_LEFT}" y="{y + 5}" width="{width:.1f}" height="18" fill="{_COLOUR}"/>',
            text(_LEFT + width + 8, y + 21, _written(share), "start"),
        ]
    return drawing(told(found), rows, _ROW * len(ordered))


def told(found: Sequence[Weight]) -> str:
    """The drawing in words."""
    ordered = sorted(found, key=lambda one: -one[1])
    return "\u00a0; ".join(f"{name}\u00a0: {_written(share)}" for name, share in ordered) + "."


def _written(share: float) -> str:
    return in_percent(share) if share == 0 or share >= _LEAST else f"<\u00a0{in_percent(_LEAST)}"
