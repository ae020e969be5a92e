"""How a sound object that is not served is refused, and how names from a file are shown in a sentence."""

_LONGEST_SHOWN = 60


class NotUsable(ValueError):
    """A sound object that is not served. The message is French, and has its way out."""


def shown(value: object) -> str:
    """A name from the file for a sentence: short, and without control characters."""
    try:
        written = str(value)
    except ValueError:  # an integer of thousands of digits
        written = type(value).__name__
    text = "".join(c if c.isprintable() else "?" for c in written)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
