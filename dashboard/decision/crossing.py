"""Draws two features of reference clients against each other, with their decisions, and this client."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboard.decision.measures import Measure
from dashboard.labels import COLOURS, KEYS
from dashboard.numbers import counted
from dashboard.plane import WIDTH, Plane, drawing
from dashboard.svg import text

_HALF = 5.0  # of a mark's width

Features = Mapping[str, float | None]


@dataclass(frozen=True)
class Crossing:
    """`others`, `nearest`: reference clients; those who are nearest are drawn full, the others faint."""

    across: Measure
    up: Measure
    others: Sequence[Mapping[str, Any]]
    nearest: Sequence[Mapping[str, Any]]
    client: Features

    def drawn(self) -> str:
        (left, right), (bottom, top) = self.across.ends, self.up.ends
        plane = Plane(right, top, left=left, bottom=bottom)
        parts = [
            *plane.axes(self.across.on_axis_written, self.up.on_axis_written),
            *plane.names(self.across.title, self.up.title),
            *self._marks(plane, self.others, 0.45),
            *self._marks(plane, self.nearest, 1.0),
        ]
        own = self._placed(plane, self.client)
        if own is not None:
            x, y = own
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="11" class="curve" stroke-width="3"/>')
            side, apart = ("end", -16) if x > WIDTH / 2 else ("start", 16)
            parts.append(text(x + apart, y - 10, "ce client", side, is_over_marks=True))
        return drawing(self.told(), parts)

    def told(self) -> str:
        """The drawing in words."""
        of_client = [one.written(self.client.get(one.name)) for one in (self.across, self.up)]
        return (
            f"{self.across.label} et {self.up.label} de {counted(len(self.others), 'client', 'clients')} de "
            f"référence et des {len(self.nearest)} plus proches. Ce client\u00a0: {' et '.join(of_client)}."
        )

    def _marks(self, plane: Plane, clients: Iterable[Mapping[str, Any]], opacity: float) -> Iterator[str]:
        for one in clients:
            placed = self._placed(plane, one["features"])
            if placed is not None:
                yield _mark(*placed, KEYS.index(one["label"]), opacity)

    def _placed(self, plane: Plane, features: Features) -> tuple[float, float] | None:
        """None where one of the two values is unknown."""
        x, y = features.get(self.across.name), features.get(self.up.name)
        if x is None or y is None:
            return None
        return plane.x(self.across.on_axis(x)), plane.y(self.up.on_axis(y))


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
