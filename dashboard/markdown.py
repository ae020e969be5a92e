"""Text of other people in a page that Streamlit reads as Markdown."""

import re

_SIGNS = re.compile(r"[\\`*_\[\]<>|~$#]|:(?=\w)")


def escaped(text: str) -> str:
    """The text that shows as it is: « a_b_c » keeps its underscores."""
    return _SIGNS.sub(r"\\\g<0>", text)
