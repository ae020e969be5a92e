"""Draws two features of reference clients against each other, with their decisions, and this client."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dashboard.decision.measures import Measure
from dashboard.labels import COLOURS
from dashboard.numbers import counted
from dashboard.plane import Plane, drawing, text

_KEYS = ("reliable", "grey", "risky")
_HALF = 5.0  # of a mark's width

Features = Mapping[str, float | None]


def crossing(
    across: Measure,
    up: Measure,
    others: Sequence[Mapping[str, Any]],
    nearest: Sequence[Mapping[str, Any]],
    client: Features,
) -> str:
    """`others`, `nearest`: reference clients; those who are nearest are drawn full, the others faint."""
    plane = Plane(across.ends[1], up.ends[1], left=across.ends[0], bottom=up.ends[0])
    parts = [*plane.axes(across.on_axis_written, up.on_axis_written), *plane.names(across.title, up.title)]
    parts += _marks(plane, across, up, others, 0.45)
    parts += _marks(plane, across, up, nearest, 1.0)
    own = _placed(plane, across, up, client)
    if own is not None:
        x, y = own
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="11" class="curve" stroke-width="3"/>')
        side = "end" if x > 400 else "start"
        parts.append(text(x + (16 if side == "start" else -16), y - 10, "ce client", side))
    return drawing(told(across, up, others, nearest, client), parts)


def told(
    across: Measure,
    up: Measure,
    others: Sequence[Mapping[str, Any]],
    nearest: Sequence[Mapping[str, Any]],
    client: Features,
) -> str:
    """The drawing in words."""
    return (
        f"{across.label} et {up.label} de {counted(len(others), 'client', 'clients')} de référence et des "
        f"{len(nearest)} plus proches. Ce client\u00a0: {across.written(client.get(across.name))} et "
        f"{up.written(client.get(up.name))}."
    )


def _marks(
    plane: Plane, across: Measure, up: Measure, clients: Iterable[Mapping[str, Any]], opacity: float
) -> Iterable[str]:
    for one in clients:
        placed = _placed(plane, across, up, one["features"])
        if placed is not None:
            yield _mark(*placed, _KEYS.index(one["label"]), opacity)


def _placed(plane: Plane, across: Measure, up: Measure, features: Features) -> tuple[float, float] | None:
    """None where one of the two values is unknown."""
    x, y = features.get(across.name), features.get(up.name)
    return None if x is None or y is None else (plane.x(across.on_axis(x)), plane.y(up.on_axis(y)))


def _mark(x: float, y: float, zone: int, opacity: float) -> str:
    """A circle, a diamond or a triangle, as beside the labels' names."""
    painted = f'fill="{COLOURS[zone]}" opacity="{opacity}"'
    if zone == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_HALF - 1}" {painted}/>'
    diamond = ((0, -1), (1, 0), (0, 1), (-1, 0))
    triangle = ((0, -1), (1, 1), (-1, 1))
    corners = " ".join(
        f"{x + _HALF * right:.1f},{y + _HALF * down:.1f}" for right, down in (diamond, triangle)[zone - 1]
    )
    return f'<polygon points="{corners}" {painted}/>'
