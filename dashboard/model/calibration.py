"""Draws whether as many clients default as was predicted, in groups of rising probability."""

from collections.abc import Callable, Mapping, Sequence

from dashboard.numbers import counted, in_percent
from dashboard.plane import Plane, drawing, end_of

Group = Mapping[str, float]


def drawn(groups: Sequence[Group], *, are_expected: bool) -> str:
    """`are_expected`: nobody has seen the defaults; each client counts with the probability that is true."""
    end = end_of(max(max(one["predicted"], one["observed"]) for one in groups))
    plane = Plane(end, end)
    parts = [
        *plane.axes(_numbers(end), _numbers(end)),
        plane.straight((0.0, 0.0), (end, end)),
        *(plane.dot(one["predicted"], one["observed"]) for one in groups),
        *plane.names("Probabilité prévue", f"Taux de défaut {'attendu' if are_expected else 'constaté'}"),
    ]
    return drawing(told(groups, are_expected=are_expected), parts)


def told(groups: Sequence[Group], *, are_expected: bool) -> str:
    """The drawing in words."""
    smallest, largest = (int(of(one["clients"] for one in groups)) for of in (min, max))
    size = f"de {counted(smallest, 'client', 'clients')}" if smallest == largest else "de clients"
    seen = "attendus" if are_expected else "constatés"
    pairs = "\u00a0; ".join(
        f"{in_percent(one['predicted'])} prévus, {in_percent(one['observed'])} {seen}" for one in groups
    )
    return f"{len(groups)} groupes {size}, du moins au plus risqué\u00a0: {pairs}."


def _numbers(end: float) -> Callable[[float], str]:
    """How the numbers of an axis are written: its fifths are whole per cents, or not."""
    decimals = 0 if round(20 * end) == 20 * end else 1
    return lambda share: in_percent(share, decimals)
