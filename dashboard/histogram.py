"""Draws how many clients of a portfolio have which default probability, by label."""

import numpy as np
import numpy.typing as npt

from dashboard.labels import COLOURS, SHAPES, WORDS
from dashboard.numbers import counted, in_percent, in_thousands

_WIDTH, _HEIGHT = 640, 330  # narrow, so that a telephone shows the words large enough to read
_LEFT, _RIGHT, _TOP, _BOTTOM = 75, 600, 60, 260
_BINS = 40
# An image follows the page's own scheme: Streamlit sets it by its theme.
_STYLE = (
    "<style>.text{fill:#31333f}.line{stroke:#31333f}"
    "@media(prefers-color-scheme:dark){.text{fill:#fafafa}.line{stroke:#fafafa}}</style>"
)


def histogram(
    probabilities: npt.NDArray[np.float64],
    zones: npt.NDArray[np.int64],
    bounds: tuple[float, float],
) -> str:
    """`zones`: the place of each client's label. `bounds`: of the grey zone. The scale begins with 0."""
    end = next(step for step in (0.1, 0.2, 0.5, 1.0) if probabilities.max() <= step)
    edges = np.linspace(0.0, end, _BINS + 1)
    counts = np.array([np.histogram(probabilities[zones == zone], edges)[0] for zone in range(len(WORDS))])
    most = int(counts.sum(axis=0).max())
    parts = [
        *_bars(counts, most),
        f'<line x1="{_LEFT}" x2="{_RIGHT}" y1="{_BOTTOM}" y2="{_BOTTOM}" class="line"/>',
        *(_below(share, end) for share in np.linspace(0.0, end, 6)),
        _text(_LEFT - 8, _TOP + 5, in_thousands(most), "end"),
        _text(_LEFT - 8, _BOTTOM, "0", "end"),
        *_grey_zone(bounds, end),
        _text((_LEFT + _RIGHT) / 2, _HEIGHT - 8, "Probabilité de défaut", "middle"),
    ]
    title = told(probabilities, zones, bounds)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif" font-size="17">{_STYLE}'
        f"<title>{title}</title>{''.join(parts)}</svg>"
    )


def told(
    probabilities: npt.NDArray[np.float64], zones: npt.NDArray[np.int64], bounds: tuple[float, float]
) -> str:
    """The drawing for who does not see it."""
    clients = counted(len(probabilities), "client", "clients")
    of_each = ", ".join(
        f"{word} {in_thousands(int((zones == zone).sum()))}" for zone, word in enumerate(WORDS)
    )
    low, middle, high = (in_percent(float(one)) for one in np.quantile(probabilities, (0.05, 0.5, 0.95)))
    lower, upper = (in_percent(bound, 2) for bound in bounds)
    return (
        f"Histogramme des probabilités de défaut de {clients} : {of_each}. "
        f"Médiane {middle} ; neuf clients sur dix sont entre {low} et {high}. "
        f"Zone grise de {lower} à {upper}."
    )


def _bars(counts: npt.NDArray[np.int64], most: int) -> list[str]:
    width = (_RIGHT - _LEFT) / _BINS
    bars = []
    for place in range(_BINS):
        floor = float(_BOTTOM)
        for zone, colour in enumerate(COLOURS):
            height = (_BOTTOM - _TOP) * int(counts[zone, place]) / most
            if height:
                floor -= height
                at = f'x="{_LEFT + place * width + 1:.1f}" y="{floor:.1f}"'
                bars.append(f'<rect {at} width="{width - 2:.1f}" height="{height:.1f}" fill="{colour}"/>')
    return bars


def _grey_zone(bounds: tuple[float, float], end: float) -> list[str]:
    """Both bounds, and the words beside them, so that no colour is needed to tell the labels apart."""
    lower, upper = (_LEFT + (_RIGHT - _LEFT) * min(bound, end) / end for bound in bounds)
    lines = [
        f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP - 14}" y2="{_BOTTOM}" '
        f'class="line" stroke-dasharray="4 3"/>'
        for at in (lower, upper)
    ]
    words = [f"{shape} {word}" for shape, word in zip(SHAPES, WORDS, strict=True)]
    return [
        *lines,
        _text(lower - 8, _TOP - 18, words[0], "end", COLOURS[0]),
        _text((lower + upper) / 2, _TOP - 40, words[1], "middle", COLOURS[1]),
        _text(upper + 8, _TOP - 18, words[2], "start", COLOURS[2]),
    ]


def _below(share: float, end: float) -> str:
    return _text(_LEFT + (_RIGHT - _LEFT) * share / end, _BOTTOM + 20, in_percent(share, 0), "middle")


def _text(x: float, y: float, text: str, anchor: str, colour: str = "") -> str:
    painted = f'fill="{colour}"' if colour else 'class="text"'
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" {painted}>{text}</text>'
