"""Reads and writes numbers as a French loan officer does, without losing a digit."""

import math


class NotANumber(ValueError):
    """A field holds no number. The message is a sentence that names the field."""


def read_french(text: str, label: str) -> float | None:
    """A typed number, with a comma or a point and any spaces; None for an empty field. Raises NotANumber."""
    plain = "".join(text.split()).replace("\u2212", "-").replace(",", ".")
    if not plain:
        return None
    try:
        number = float(plain)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise NotANumber(f"« {label} » : écrivez un nombre, par exemple 1234,5.")
    return number


def write_french(number: float) -> str:
    """The shortest text that reads back as the same number: 15000, 0,02."""
    return f"{number!r}".removesuffix(".0").replace(".", ",")
