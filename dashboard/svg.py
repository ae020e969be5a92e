"""What all drawings share: ink that can be read on the page's ground, and words for who does not see them."""

from collections.abc import Iterable
from html import escape

from dashboard.labels import COLOURS, SHAPES, WORDS

_INK, GROUND = ("#31333f", "#fafafa"), ("#ffffff", "#171614")  # of a light page, and of a dark one


def _rules(ink: str, ground: str) -> str:
    return (
        f".text,.dot{{fill:{ink}}}.line,.curve{{stroke:{ink}}}.curve{{fill:none}}"
        f".halo{{paint-order:stroke;stroke:{ground};stroke-width:6px;stroke-linejoin:round}}"
    )


# An image follows the page's own scheme: Streamlit sets it by its theme.
_LIGHT, _DARK = (_rules(*colours) for colours in zip(_INK, GROUND, strict=True))
_STYLE = f"<style>{_LIGHT}@media(prefers-color-scheme:dark){{{_DARK}}}</style>"


def picture(told: str, parts: Iterable[str], width: int, height: int, font_size: int) -> str:
    """`told`: the drawing in words."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="{font_size}">{_STYLE}'
        f"<title>{escape(told)}</title>{''.join(parts)}</svg>"
    )


def text(
    x: float,
    y: float,
    words: str,
    anchor: str = "start",
    *,
    colour: str = "",
    size: int = 0,
    is_bold: bool = False,
    is_over_marks: bool = False,
) -> str:
    """`colour`, `size`: those of all other words unless they are given."""
    painted = f'fill="{colour}"' if colour else f'class="text{" halo" if is_over_marks else ""}"'
    sized = f' font-size="{size}"' if size else ""
    weight = ' font-weight="bold"' if is_bold else ""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f"<text {place} {painted}{sized}{weight}>{escape(words)}</text>"


def label(x: float, y: float, anchor: str, zone: int, size: int) -> str:
    """A label's name. Its shape alone has its colour: no word could be read in it both light and dark."""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="text" font-size="{size}"'
    return f'<text {place}><tspan fill="{COLOURS[zone]}">{SHAPES[zone]}</tspan> {WORDS[zone]}</text>'


def line(x1: float, y1: float, x2: float, y2: float, *, dashed: bool = False) -> str:
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="line"{dashes}/>'


def box(x: float, y: float, width: float, height: float, colour: str, opacity: float = 1.0) -> str:
    at = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    faint = f' opacity="{opacity}"' if opacity < 1.0 else ""
    return f'<rect {at} fill="{colour}"{faint}/>'
