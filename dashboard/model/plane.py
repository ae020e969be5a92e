"""A plane with two axes as SVG: what the drawings of the page « Modèle » share."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 370  # narrow, so that a telephone shows the words large enough to read
_STEPS = 5  # of an axis
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 610, 50, 290
# An image follows the page's own scheme: Streamlit sets it by its theme.
_STYLE = (
    "<style>.text{fill:#31333f}.line{stroke:#31333f}.curve{stroke:#31333f;fill:none}.dot{fill:#31333f}"
    "@media(prefers-color-scheme:dark){.text,.dot{fill:#fafafa}.line,.curve{stroke:#fafafa}}</style>"
)


@dataclass(frozen=True)
class Plane:
    """Both axes begin with 0. `right` and `top`: where they end."""

    right: float
    top: float

    def x(self, value: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * min(value, self.right) / self.right

    def y(self, value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * min(value, self.top) / self.top

    def axes(self, below: Callable[[float], str], beside: Callable[[float], str]) -> list[str]:
        """Both lines, and the numbers beside them."""
        shares = [step / _STEPS for step in range(_STEPS + 1)]
        numbers = [
            text(self.x(self.right * one), _BOTTOM + 27, below(self.right * one), "middle") for one in shares
        ]
        numbers += [
            text(_LEFT - 8, self.y(self.top * one) + 6, beside(self.top * one), "end") for one in shares
        ]
        return [line(_LEFT, _BOTTOM, _RIGHT, _BOTTOM), line(_LEFT, _TOP, _LEFT, _BOTTOM), *numbers]

    def names(self, below: str, beside: str) -> list[str]:
        return [text((_LEFT + _RIGHT) / 2, _BOTTOM + 62, below, "middle"), text(10, 22, beside, "start")]

    def upright(self, value: float, *, dashed: bool = False) -> str:
        """A line from the lower axis to the top."""
        return line(self.x(value), _BOTTOM, self.x(value), _TOP, dashed=dashed)

    def band(self, start: float, stop: float, colour: str) -> str:
        left, width = self.x(start), max(self.x(stop) - self.x(start), 2.0)
        at = f'x="{left:.1f}" y="{_TOP}" width="{width:.1f}" height="{_BOTTOM - _TOP}"'
        return f'<rect {at} fill="{colour}" opacity="0.35"/>'

    def curve(self, points: Iterable[tuple[float, float]]) -> str:
        placed = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        return f'<polyline points="{placed}" class="curve" stroke-width="2.5"/>'


def drawing(title: str, parts: Iterable[str], height: int = HEIGHT) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" width="{WIDTH}" '
        f'height="{height}" font-family="sans-serif" font-size="19">{_STYLE}<title>{escape(title)}</title>'
        f"{''.join(parts)}</svg>"
    )


def line(x1: float, y1: float, x2: float, y2: float, *, dashed: bool = False) -> str:
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="line"{dashes}/>'


def text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="text">{escape(words)}</text>'


def end_of(largest: float, *, steps: tuple[float, ...] = (0.1, 0.2, 0.25, 0.5, 1.0)) -> float:
    """Where an axis ends that holds this value."""
    scale = 1.0
    while largest > scale * steps[-1]:
        scale *= 10.0
    return next(scale * step for step in steps if largest <= scale * step)
