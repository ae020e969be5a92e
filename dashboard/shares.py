"""Draws shares as bars: a row for each name, with a bar for each series; the first series orders the rows."""

from collections.abc import Sequence

from dashboard.numbers import in_percent
from dashboard.plane import WIDTH, drawing
from dashboard.svg import box, text

_LEFT, _BAR, _GAP = 285, 19, 11
_LEAST = 0.001  # that one decimal of a per cent can say
_COLOURS = ("#5b7fa6", "#9a9a9a")  # of no label: weights are neither good nor bad

Row = tuple[str, float, *tuple[float, ...]]  # a name, and a share for each series


def bars(rows: Sequence[Row], series: Sequence[str]) -> str:
    """`series`: what each is called. Of a single one that is not said."""
    per_share = (WIDTH - _LEFT - 80) / (max(share for _, *shares in rows for share in shares) or 1.0)
    parts = _legend(series) if len(series) > 1 else []
    top = _BAR + _GAP if parts else 0
    for name, *shares in _ordered(rows):
        parts.append(text(_LEFT - 10, top + _BAR * len(shares) / 2 + 11, name, "end"))
        for share, colour in zip(shares, _COLOURS, strict=False):
            width = max(share * per_share, 1.0)
            parts.append(box(_LEFT, top + 4, width, 16, colour))
            parts.append(text(_LEFT + width + 8, top + 19, _written(share)))
            top += _BAR
        top += _GAP
    return drawing(told(rows, series), parts, top)


def told(rows: Sequence[Row], series: Sequence[str]) -> str:
    """The drawing in words."""
    return "\u00a0; ".join(f"{name}\u00a0: {_each(shares, series)}" for name, *shares in _ordered(rows)) + "."


def _ordered(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: -row[1])


def _each(shares: Sequence[float], series: Sequence[str]) -> str:
    if len(series) == 1:
        return _written(shares[0])
    return ", ".join(f"{_written(share)} {called}" for share, called in zip(shares, series, strict=True))


def _written(share: float) -> str:
    return in_percent(share) if share == 0 or share >= _LEAST else f"<\u00a0{in_percent(_LEAST)}"


def _legend(series: Sequence[str]) -> list[str]:
    parts = []
    for place, (called, colour) in enumerate(zip(series, _COLOURS, strict=False)):
        left = _LEFT + 170 * place
        parts.append(box(left, 6, 16, 16, colour))
        parts.append(text(left + 24, 21, called))
    return parts
