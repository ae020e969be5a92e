"""Draws a decision as SVG: the client on the scale of default probabilities, with the grey zone."""

from collections.abc import Mapping
from typing import Any

from dashboard.labels import COLOURS
from dashboard.numbers import in_percent

_WIDTH, _LEFT, _RIGHT = 620, 10, 610  # so that a telephone shows letters of a readable size
_PLAIN = (
    "<style>.plain{fill:#31333f}.line{stroke:#31333f}"
    "@media(prefers-color-scheme:dark){.plain{fill:#fafafa}.line{stroke:#fafafa}}</style>"
)


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
        _text((at(0.0) + at(lower)) / 2, 92, "fiable"),
        _text((at(upper) + at(end)) / 2, 92, "risqué"),
        _text((at(lower) + at(upper)) / 2, 54, "zone grise"),
    ]
    bounds = f"zone grise de {in_percent(lower, 2)} à {in_percent(upper, 2)}"
    title = f"Probabilité de défaut {in_percent(probability, 2)}, {bounds}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} 150" width="{_WIDTH}" height="150" '
        f'role="img" font-family="sans-serif"><title>{title}</title>{_PLAIN}{"".join(parts)}</svg>'
    )


def _placed(end: float) -> Any:
    return lambda share: _LEFT + (_RIGHT - _LEFT) * min(share, end) / end


def _band(start: float, stop: float, colour: str) -> str:
    width = max(stop - start, 2.0)
    return f'<rect x="{start:.1f}" y="60" width="{width:.1f}" height="14" fill="{colour}" opacity="0.8"/>'


def _tick(place: float, bound: float, anchor: str) -> str:
    line = f'<line x1="{place:.1f}" x2="{place:.1f}" y1="58" y2="104" class="line"/>'
    return line + _text(place, 120, in_percent(bound, 2), anchor=anchor)


def _end(place: float, share: float) -> str:
    return _text(place, 144, in_percent(share, 0), anchor="end" if share else "start")


def _client(place: float, probability: float, colour: str, shape: str) -> str:
    marker = f'<line x1="{place:.1f}" x2="{place:.1f}" y1="56" y2="82" stroke="{colour}" stroke-width="5"/>'
    text = f"{shape} Probabilité de défaut\u00a0: {in_percent(probability, 2)}"
    return marker + _text(min(max(place, 190), _WIDTH - 190), 28, text, size=20, weight="bold")


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 15,
    weight: str = "normal",
    anchor: str = "middle",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
        f'class="plain">{text}</text>'
    )
