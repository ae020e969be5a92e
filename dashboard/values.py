"""Shows a value of a client with its unit, as a person says it."""

from dashboard.numbers import in_thousands, write_french

UNKNOWN = "inconnu"
DAYS, AMOUNT, SHARE, SCORE = "jours négatifs", "unité monétaire", "rapport", "de 0 à 1"
DAYS_PER_YEAR = 365  # as the service counts an age

_BARE = (SCORE, "numéro de version", AMOUNT)  # units that nobody says behind a number
_YEARS, _PER_CENT = "ans", "%"


def shown(value: float | None, unit: str = "") -> str:
    """-12000 « jours négatifs » as « 32,9 ans », 450000 as « 450 000 », null as « inconnu »."""
    if value is None:
        return UNKNOWN
    word = _word(unit)
    if abs(_said(value, unit)) < 2:  # in French, 1,9 is singular
        word = word.removesuffix("s")
    return f"{digits(value, unit)}\u00a0{word}" if word else digits(value, unit)


def span(ends: tuple[float, float], unit: str) -> str:
    """« 1,3 à 33 échéances »: from the smaller to the greater, as they are said, and the unit once."""
    low, high = sorted(ends, key=lambda one: _said(one, unit))
    return f"{digits(low, unit)} à {shown(high, unit)}"


def digits(value: float, unit: str) -> str:
    """The number alone: 0.5 of « rapport » as « 50 », of « de 0 à 1 » as « 0,5 »."""
    whole, comma, rest = write_french(_said(value, unit)).partition(",")
    is_plain = whole.lstrip("-").isdecimal()
    written = (in_thousands(int(whole)) if is_plain else whole) + comma + rest
    return written.replace("-", "\u2212")


def _said(value: float, unit: str) -> float:
    number = -value / DAYS_PER_YEAR if unit == DAYS else 100 * value if unit == SHARE else float(value)
    return round(number, _decimals(number, unit)) + 0.0  # so that zero has no sign


def _word(unit: str) -> str:
    return _YEARS if unit == DAYS else _PER_CENT if unit == SHARE else "" if unit in _BARE else unit


def _decimals(value: float, unit: str) -> int:
    """Money to the cent, shares and years as reasons say them, all else to a few digits."""
    if unit in (AMOUNT, DAYS):
        return 2 if unit == AMOUNT else 1
    if unit == SHARE:
        return int(0 < abs(value) < 0.95)
    return 0 if abs(value) >= 1_000 else 2 if abs(value) >= 10 else 3
