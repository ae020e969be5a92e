"""Text of other people in a page that Streamlit reads as Markdown."""

import re

# A colon begins a name of a colour, a sign or a picture. In an address it stands before a number.
_SIGNS = re.compile(r"[\\`*_\[\]<>|~$#]|:(?=\w+:|[^\W\d])|(?<![\d\]]):(?=\d)")


def escaped(text: str) -> str:
    """The text that shows as it is: « a_b_c » keeps its underscores."""
    return _SIGNS.sub(r"\\\g<0>", text)
