"""Draws how many clients of a portfolio have which default probability, by label."""

import numpy as np
import numpy.typing as npt

from dashboard.labels import COLOURS, WORDS
from dashboard.numbers import counted, in_percent, in_thousands
from dashboard.svg import box, label, line, picture, text

_WIDTH, _HEIGHT = 640, 330  # narrow, so that a telephone shows the words large enough to read
_LEFT, _RIGHT, _TOP, _BOTTOM = 75, 600, 60, 260
_BINS = 40
_WORD = 92  # the width of the longest label


def histogram(
    probabilities: npt.NDArray[np.float64],
    zones: npt.NDArray[np.int64],
    bounds: tuple[float, float],
) -> str:
    """`zones`: the place of each client's label. `bounds`: of the grey zone. The scale begins with 0."""
    largest = max(float(probabilities.max()), bounds[1])
    end = next(step for step in (0.1, 0.2, 0.5, 1.0) if largest <= step)
    edges = np.linspace(0.0, end, _BINS + 1)
    counts = np.array([np.histogram(probabilities[zones == zone], edges)[0] for zone in range(len(WORDS))])
    most = int(counts.sum(axis=0).max())
    parts = [
        *_bars(counts, most),
        line(_LEFT, _BOTTOM, _RIGHT, _BOTTOM),
        *(_below(share, end) for share in np.linspace(0.0, end, 6)),
        text(_LEFT - 8, _TOP + 5, in_thousands(most), "end"),
        text(_LEFT - 8, _BOTTOM, "0", "end"),
        *_grey_zone(bounds, end),
        text((_LEFT + _RIGHT) / 2, _HEIGHT - 8, "Probabilité de défaut", "middle"),
    ]
    return picture(told(probabilities, zones, bounds), parts, _WIDTH, _HEIGHT, font_size=17)


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
                bars.append(box(_LEFT + place * width + 1, floor, width - 2, height, colour))
    return bars


def _grey_zone(bounds: tuple[float, float], end: float) -> list[str]:
    """Both bounds, and the words beside them, so that no colour is needed to tell the labels apart."""
    lower, upper = (_LEFT + (_RIGHT - _LEFT) * bound / end for bound in bounds)
    places = (
        (max(lower - 8, _WORD), _TOP - 18, "end"),
        ((lower + upper) / 2, _TOP - 40, "middle"),
        (min(upper + 8, _WIDTH - _WORD), _TOP - 18, "start"),
    )
    return [
        *(line(at, _TOP - 14, at, _BOTTOM, dashed=True) for at in (lower, upper)),
        *(label(x, y, anchor, zone, 17) for zone, (x, y, anchor) in enumerate(places)),
    ]


def _below(share: float, end: float) -> str:
    return text(_LEFT + (_RIGHT - _LEFT) * share / end, _BOTTOM + 20, in_percent(share, 0), "middle")
