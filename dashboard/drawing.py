"""Draws a decision as SVG: the client on the scale of default probabilities, with the grey zone."""

from collections.abc import Mapping
from typing import Any

from dashboard.labels import COLOURS
from dashboard.numbers import in_percent
from dashboard.svg import box, line, picture, text

_WIDTH, _LEFT, _RIGHT = 620, 10, 610  # so that a telephone shows letters of a readable size


def scale(decision: Mapping[str, Any], zone: int, shape: str) -> str:
    """The drawing. Its ends are the same for every client, so that two of them can be compared."""
    probability, lower, upper = (
        decision[key] for key in ("probability_class_1", "lower_bound", "upper_bound")
    )
    end = 1.0
    at = _placed(end)
    parts = [
        _band(at(0.0), at(lower), COLOURS[0]),
        _band(at(lower), at(upper), COLOURS[1]),
        _band(at(upper), at(end), COLOURS[2]),
        _tick(at(lower), lower, "end" if lower < upper else "middle"),
        *([_tick(at(upper), upper, "start")] if lower < upper else []),
        *(_end(at(edge), edge) for edge in (0.0, end)),
        _client(at(probability), probability, COLOURS[zone], shape),
        text((at(0.0) + at(lower)) / 2, 92, "fiable", "middle"),
        text((at(upper) + at(end)) / 2, 92, "risqué", "middle"),
        text((at(lower) + at(upper)) / 2, 54, "zone grise", "middle"),
    ]
    bounds = f"zone grise de {in_percent(lower, 2)} à {in_percent(upper, 2)}"
    title = f"Probabilité de défaut {in_percent(probability, 2)}, {bounds}"
    return picture(title, parts, _WIDTH, 150, font_size=15)


def _placed(end: float) -> Any:
    return lambda share: _LEFT + (_RIGHT - _LEFT) * min(share, end) / end


def _band(start: float, stop: float, colour: str) -> str:
    width = max(stop - start, 2.0)
    return box(start, 60, width, 14, colour, opacity=0.8)


def _tick(place: float, bound: float, anchor: str) -> str:
    return line(place, 58, place, 104) + text(place, 120, in_percent(bound, 2), anchor)


def _end(place: float, share: float) -> str:
    return text(place, 144, in_percent(share, 0), "end" if share else "start")


def _client(place: float, probability: float, colour: str, shape: str) -> str:
    marker = f'<line x1="{place:.1f}" x2="{place:.1f}" y1="56" y2="82" stroke="{colour}" stroke-width="5"/>'
    words = f"{shape} Probabilité de défaut\u00a0: {in_percent(probability, 2)}"
    return marker + text(min(max(place, 190), _WIDTH - 190), 28, words, "middle", size=20, is_bold=True)
