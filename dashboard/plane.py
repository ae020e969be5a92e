"""A plane with two axes as SVG: what drawings with a scale in both directions share."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dashboard.svg import box, line, picture, text

WIDTH, HEIGHT = 640, 370  # narrow, so that a telephone shows the words large enough to read
_STEPS = 5  # of an axis
_LEFT, _RIGHT, _TOP, _BOTTOM = 96, 610, 50, 290


@dataclass(frozen=True)
class Plane:
    """`right` and `top`: where its axes end. `left` and `bottom`: where they begin."""

    right: float
    top: float
    left: float = 0.0
    bottom: float = 0.0

    def x(self, value: float) -> float:
        """What lies outside is put at the edge, as by `y`."""
        return _LEFT + (_RIGHT - _LEFT) * _share(value, self.left, self.right)

    def y(self, value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * _share(value, self.bottom, self.top)

    def axes(self, below: Callable[[float], str], beside: Callable[[float], str]) -> list[str]:
        """Both lines, and the numbers beside them."""
        across, up = _round_numbers(self.left, self.right), _round_numbers(self.bottom, self.top)
        numbers = [text(self.x(one), _BOTTOM + 27, below(one), "middle") for one in across]
        numbers += [text(_LEFT - 8, self.y(one) + 6, beside(one), "end") for one in up]
        return [line(_LEFT, _BOTTOM, _RIGHT, _BOTTOM), line(_LEFT, _TOP, _LEFT, _BOTTOM), *numbers]

    def names(self, below: str, beside: str) -> list[str]:
        return [text((_LEFT + _RIGHT) / 2, _BOTTOM + 62, below, "middle"), text(10, 22, beside, "start")]

    def upright(self, value: float, *, dashed: bool = False) -> str:
        """A line from the lower axis to the top."""
        return line(self.x(value), _BOTTOM, self.x(value), _TOP, dashed=dashed)

    def band(self, start: float, stop: float, colour: str) -> str:
        left, width = self.x(start), max(self.x(stop) - self.x(start), 2.0)
        return box(left, _TOP, width, _BOTTOM - _TOP, colour, opacity=0.35)

    def bar(self, start: float, stop: float, floor: float, ceiling: float, colour: str) -> str:
        left, width = self.x(start) + 1, max(self.x(stop) - self.x(start) - 2, 1.0)
        return box(left, self.y(ceiling), width, self.y(floor) - self.y(ceiling), colour)

    def dot(self, x: float, y: float) -> str:
        return f'<circle cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="6" class="dot"/>'

    def straight(self, start: tuple[float, float], end: tuple[float, float]) -> str:
        """A dashed line between two points."""
        return line(self.x(start[0]), self.y(start[1]), self.x(end[0]), self.y(end[1]), dashed=True)

    def curve(self, points: Iterable[tuple[float, float]]) -> str:
        placed = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        return f'<polyline points="{placed}" class="curve" stroke-width="2.5"/>'


def drawing(told: str, parts: Iterable[str], height: int = HEIGHT) -> str:
    return picture(told, parts, WIDTH, height, font_size=19)


def end_of(largest: float, *, steps: tuple[float, ...] = (0.1, 0.2, 0.25, 0.5, 1.0)) -> float:
    """Where an axis ends that holds this value."""
    scale = 1.0
    while largest > scale * steps[-1]:
        scale *= 10.0
    while largest <= scale * steps[0] / 10.0 and scale > 1e-9:
        scale /= 10.0
    return next(scale * step for step in steps if largest <= scale * step)


def _round_numbers(first: float, last: float) -> list[float]:
    """Some between the two, both included, that are easy to read."""
    step = end_of((last - first) / _STEPS, steps=(0.1, 0.2, 0.25, 0.5, 1.0))
    places = range(math.ceil(first / step - 1e-9), math.floor(last / step + 1e-9) + 1)
    return [place * step for place in places]


def _share(value: float, first: float, last: float) -> float:
    if first == last:  # all have one value
        return 0.5
    return min(max((value - first) / (last - first), 0.0), 1.0)
