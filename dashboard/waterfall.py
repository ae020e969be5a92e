"""Draws how each value of a client moves the probability, from what it is for all to the client's own."""

from collections.abc import Sequence

from dashboard import labels
from dashboard.numbers import in_percent, signed
from dashboard.svg import box, picture, text

_WIDTH, _LEFT, _ROW, _MOST = 660, 262, 34, 8  # narrow, so that a telephone shows readable words
_NUMBER = 112  # the width of the longest number


def waterfall(steps: Sequence[tuple[str, float]], start: float, end: float) -> str:
    """The drawing. `steps`: what each value is called and what it adds to the probability."""
    largest = sorted(steps, key=lambda step: -abs(step[1]))
    shown = largest[:_MOST]
    if rest := largest[_MOST:]:
        shown = [*shown, (f"{len(rest)} autres valeurs", sum(points for _, points in rest))]
    edges = [start]
    for _, points in shown:
        edges.append(edges[-1] + points)
    low, high = min(*edges, end), max(*edges, end)
    per_share = (_WIDTH - _LEFT - _NUMBER) / ((high - low) or 1.0)
    rows = [_total(0, "Avant de connaître le client", start, low, per_share)]
    rows += [
        _step(place, name, points, edges[place - 1], low, per_share)
        for place, (name, points) in enumerate(shown, start=1)
    ]
    rows.append(_total(len(shown) + 1, "Ce client", end, low, per_share))
    return picture(told(steps, start, end), rows, _WIDTH, _ROW * (len(shown) + 2), font_size=17)


def told(steps: Sequence[tuple[str, float]], start: float, end: float) -> str:
    """The drawing in words."""
    largest = sorted(steps, key=lambda step: -abs(step[1]))[:_MOST]
    parts = "\u00a0; ".join(f"{name}\u00a0: {in_points(points)}" for name, points in largest)
    return f"De {in_percent(start, 2)} pour tous à {in_percent(end, 2)} pour ce client. {parts}."


def in_points(points: float) -> str:
    written = signed(100 * points, 1)
    return f"{written}\u00a0{'point' if abs(round(100 * points, 1)) < 2 else 'points'}"


def _total(place: int, name: str, share: float, low: float, per_share: float) -> str:
    x = _LEFT + (share - low) * per_share
    mark = f'<circle cx="{x:.1f}" cy="{_middle(place)}" r="6" fill="#777"/>'
    return mark + _name(place, name) + text(x + 12, _middle(place) + 6, in_percent(share, 2), is_bold=True)


def _step(place: int, name: str, points: float, before: float, low: float, per_share: float) -> str:
    first, last = sorted((before, before + points))
    x, width = _LEFT + (first - low) * per_share, max((last - first) * per_share, 1.5)
    colour = labels.COLOURS[2] if points > 0 else labels.COLOURS[0]
    bar = box(x, _ROW * place + 8, width, 18, colour)
    return bar + _name(place, name) + text(x + width + 6, _middle(place) + 6, in_points(points))


def _name(place: int, name: str) -> str:
    return text(_LEFT - 12, _middle(place) + 6, name, "end")


def _middle(place: int) -> int:
    return _ROW * place + _ROW // 2
