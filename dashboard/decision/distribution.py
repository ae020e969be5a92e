"""Draws how the reference clients of each label are spread over one feature, and where this client stands."""

from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.decision.measures import Measure
from dashboard.labels import COLOURS, KEYS, WORDS
from dashboard.numbers import counted, in_percent, in_percents, in_thousands
from dashboard.plane import Plane, drawing, end_of
from dashboard.svg import label, text

_ENDS = (0.1, 0.12, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)  # of an axis of clients, in powers of ten


def distribution(measure: Measure, totals: Mapping[str, Any], value: float | None) -> str:
    """`totals`: of this feature, as `GET /reference` tells them."""
    bins = _bins(measure, totals)
    most = max(sum(counts) for _, _, counts in bins) or 1
    plane = Plane(bins[-1][1], end_of(most, steps=_ENDS), left=bins[0][0])
    parts = []
    for first, last, counts in bins:
        floor = 0
        for count, colour in zip(counts, COLOURS, strict=True):
            if count:
                parts.append(plane.bar(first, last, floor, floor + count, colour))
            floor += count
    parts += plane.axes(measure.on_axis_written, lambda count: in_thousands(round(count)))
    parts += plane.names(measure.title, "Clients de référence")
    parts += _legend()
    if value is not None:
        place = measure.on_axis(value)
        parts.append(plane.upright(place))
        side = "end" if plane.x(place) > 400 else "start"
        parts.append(text(plane.x(place) + (8 if side == "start" else -8), 66, "ce client", side))
    return drawing(told(measure, totals, value), parts)


def told(measure: Measure, totals: Mapping[str, Any], value: float | None) -> str:
    """The drawing in words."""
    clients = sum(sum(totals["clients"][key]) for key in KEYS)
    said = (
        f"{measure.label}\u00a0: {counted(clients, 'client', 'clients')} de référence par valeur et par "
        f"décision. Médiane {measure.written(measure.median)}."
    )
    return said if value is None else f"{said} Ce client\u00a0: {measure.written(value)}."


def place_of(
    measure: Measure, totals: Mapping[str, Any], value: float | None, below: float | None
) -> list[str]:
    """Sentences about the client's place. `below`: the share of the training's clients that have less."""
    if value is None:
        unknown = [totals["unknown"][key] for key in KEYS]
        return [f"Cette valeur n’est pas connue. {_of_them(unknown, 'qui ne l’ont pas non plus')}"]
    said = [f"Ce client\u00a0: {measure.written(value)}. Médiane\u00a0: {measure.written(measure.median)}."]
    if below is not None:
        said.append(f"{in_percent(below, 0)} des clients ont une valeur plus petite.")
    place = measure.on_axis(value)
    for first, last, counts in _bins(measure, totals):
        if first <= place <= last:
            said.append(_of_them(counts, "qui ont à peu près cette valeur"))
            break
    return said


def _of_them(counts: Sequence[int], which: str) -> str:
    whole = sum(counts)
    if not whole:
        return "Aucun client de référence n’est dans ce cas."
    shares = ", ".join(f"{word} {share}" for word, share in zip(WORDS, in_percents(counts, 0), strict=True))
    return f"Parmi {counted(whole, 'client', 'clients')} de référence {which}\u00a0: {shares}."


def _bins(measure: Measure, totals: Mapping[str, Any]) -> list[tuple[float, float, list[int]]]:
    """From left to right: both ends on the axis, and the clients of each label. One at least, for an axis."""
    if len(totals["edges"]) < 2:
        return [(*measure.ends, [0] * len(KEYS))]
    edges = [measure.on_axis(edge) for edge in totals["edges"]]
    counts = [list(of_all) for of_all in zip(*(totals["clients"][key] for key in KEYS), strict=True)]
    pairs = zip(edges[:-1], edges[1:], counts, strict=True)
    return sorted((min(one, other), max(one, other), of_all) for one, other, of_all in pairs)


def _legend() -> list[str]:
    """In words and shapes: no colour is needed to tell them apart by their order from below."""
    return [label(x, 44, "start", zone, 16) for zone, x in enumerate((250, 345, 485))]
