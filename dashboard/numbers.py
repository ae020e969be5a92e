"""Reads and writes numbers as a French loan officer does, without losing a digit."""

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*|[1-9][0-9]{0,2}( [0-9]{3})+)([.,][0-9]+)?(e-?[0-9]+)?")
# 200.000 may be two hundred thousand or two hundred. Nobody writes 0.125 for a hundred and twenty-five.
_AMBIGUOUS = re.compile(r"(-?[1-9][0-9]{0,2})\.([0-9]{3})")
_LARGEST = 1e12  # more than any amount of money that a client has
_BLANKS = re.compile(r"[\s\u00a0\u202f]")


class NotANumber(ValueError):
    """A field holds no number, or one of two. The message is a sentence that names the field."""


def read_french(text: str, label: str, wanted: str = "un nombre, par exemple 1234,5") -> float | None:
    """A typed number, with a comma or a point, and spaces between thousands; None for an empty field.

    Raises NotANumber, which says what is `wanted`. Nothing is left out or guessed.
    """
    typed = _BLANKS.sub(" ", text.strip()).replace("\u2212", "-").lower()
    if not typed:
        return None
    if two := _AMBIGUOUS.fullmatch(typed):
        thousands, decimals = "\u202f".join(two.groups()), ",".join(two.groups())
        raise NotANumber(
            f"«\u00a0{label}\u00a0»\u00a0: voulez-vous dire {thousands} ou {decimals}\u00a0? "
            "Écrivez l’un des deux."
        )
    if not _NUMBER.fullmatch(typed):
        raise NotANumber(f"«\u00a0{label}\u00a0»\u00a0: écrivez {wanted}.")
    number = float(typed.replace(" ", "").replace(",", "."))
    if abs(number) >= _LARGEST:
        raise NotANumber(f"«\u00a0{label}\u00a0»\u00a0: ce nombre est trop grand.")
    return number


def write_french(number: float) -> str:
    """The shortest text that reads back as the same number: 15000, 0,02."""
    return f"{number!r}".removesuffix(".0").replace(".", ",")


def in_thousands(number: int) -> str:
    """100000 as « 100 000 », with narrow no-break spaces."""
    return f"{number:,}".replace(",", "\u202f")


def fixed(number: float, decimals: int) -> str:
    """1234.5 as « 1 234,50 », with a true minus sign."""
    written = f"{number:,.{decimals}f}".replace(",", "\u202f").replace(".", ",")
    return written.replace("-", "\u2212")


def signed(number: float, decimals: int) -> str:
    """0.5 as « +0,50 »; what rounds to zero has no sign."""
    written = fixed(number, decimals)
    is_zero = not any(digit in written for digit in "123456789")
    return fixed(0.0, decimals) if is_zero else written if number < 0 else f"+{written}"


def in_percent(share: float, decimals: int = 1) -> str:
    """0.0837 as « 8,4 % »."""
    return f"{100 * share:.{decimals}f}".replace(".", ",") + "\u00a0%"


def in_percents(counts: Sequence[int], decimals: int = 1) -> list[str]:
    """What part each is of all, so that the parts as they are written sum to 100 %: the largest remainders
    are rounded up."""
    units, whole = 100 * 10**decimals, sum(counts) or 1
    floors = [units * count // whole for count in counts]
    left = units - sum(floors) if any(counts) else 0
    by_remainder = sorted(range(len(counts)), key=lambda place: -(units * counts[place] % whole))
    for place in by_remainder[:left]:
        floors[place] += 1
    return [in_percent(floor / units, decimals) for floor in floors]


def counted(number: int, singular: str, plural: str) -> str:
    """« 1 client », « 2 500 clients »; in French, zero is singular."""
    return f"{in_thousands(number)} {singular if number < 2 else plural}"
