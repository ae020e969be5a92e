"""Draws a decision as SVG: the client on the scale of default probabilities, with the grey zone."""

from collections.abc import Mapping
from typing import Any

_WIDTH, _LEFT, _RIGHT = 900, 30, 870
_COLOURS = ("#2e7d32", "#b7791f", "#b3261e")  # reliable, grey zone, risky


def in_french(share: float) -> str:
    """0.0837 as « 8,37 % », with the no-break space that French requires."""
    return f"{100 * share:.2f}".replace(".", ",") + "\u00a0%"


def scale(decision: Mapping[str, Any], zone: int, shape: str) -> str:
    """The drawing. Its ends are the same for every client, so that two of them can be compared."""
    probability, lower, upper = (
        decision[key] for key in ("probability_class_1", "lower_bound", "upper_bound")
    )
    end = 1.0
    at = _placed(end)
    parts = [
        _band(at(0.0), at(lower), _COLOURS[0]),
        _band(at(lower), at(upper), _COLOURS[1]),
        _band(at(upper), at(end), _COLOURS[2]),
        _tick(at(lower), lower, "end" if lower < upper else "middle"),
        *([_tick(at(upper), upper, "start")] if lower < upper else []),
        *(_end(at(edge), edge) for edge in (0.0, end)),
        _client(at(probability), probability, _COLOURS[zone], shape),
        _text((at(0.0) + at(lower)) / 2, 92, "fiable", _COLOURS[0]),
        _text((at(upper) + at(end)) / 2, 92, "risqué", _COLOURS[2]),
        _text((at(lower) + at(upper)) / 2, 50, "zone grise", _COLOURS[1]),
    ]
    bounds = f"zone grise de {in_french(lower)} à {in_french(upper)}"
    title = f"Probabilité de défaut {in_french(probability)}, {bounds}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} 150" width="{_WIDTH}" height="150" '
        f'role="img" font-family="sans-serif"><title>{title}</title>{"".join(parts)}</svg>'
    )


def _placed(end: float) -> Any:
    return lambda share: _LEFT + (_RIGHT - _LEFT) * min(share, end) / end


def _band(start: float, stop: float, colour: str) -> str:
    width = max(stop - start, 2.0)
    return f'<rect x="{start:.1f}" y="60" width="{width:.1f}" height="14" fill="{colour}" opacity="0.8"/>'


def _tick(place: float, bound: float, anchor: str) -> str:
    line = f'<line x1="{place:.1f}" x2="{place:.1f}" y1="54" y2="104" stroke="#444"/>'
    return line + _text(place, 120, in_french(bound), "#444", anchor=anchor)


def _end(place: float, share: float) -> str:
    return _text(place, 142, in_french(share), "#777")


def _client(place: float, probability: float, colour: str, shape: str) -> str:
    marker = f'<line x1="{place:.1f}" x2="{place:.1f}" y1="40" y2="80" stroke="{colour}" stroke-width="3"/>'
    text = f"{shape} Probabilité de défaut : {in_french(probability)}"
    return marker + _text(min(max(place, 200), _WIDTH - 200), 30, text, colour, size=22, weight="bold")


def _text(
    x: float,
    y: float,
    text: str,
    colour: str,
    *,
    size: int = 14,
    weight: str = "normal",
    anchor: str = "middle",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
        f'fill="{colour}">{text}</text>'
    )
