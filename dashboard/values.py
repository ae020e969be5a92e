"""Shows a value of a client with its unit, as a person says it."""

from dashboard.numbers import in_thousands, write_french

UNKNOWN = "inconnu"

_DAYS, _AMOUNT = "jours négatifs", "unité monétaire"
_BARE = ("rapport", "de 0 à 1", "numéro de version", _AMOUNT)  # units that nobody says behind a number


def shown(value: float | None, unit: str = "") -> str:
    """-12000 « jours négatifs » as « 32,9 ans », 450000 as « 450 000 », null as « inconnu »."""
    if value is None:
        return UNKNOWN
    if unit == _DAYS:
        return f"{_rounded(-value / 365, 1)} ans"
    number = _rounded(value, 0 if abs(value) >= 1_000 else 2 if abs(value) >= 10 else 3)
    return number if unit in _BARE or not unit else f"{number} {unit}"


def _rounded(value: float, decimals: int) -> str:
    whole, comma, rest = write_french(round(float(value), decimals)).partition(",")
    is_plain = whole.lstrip("-").isdecimal()
    return (in_thousands(int(whole)) if is_plain else whole) + comma + rest
