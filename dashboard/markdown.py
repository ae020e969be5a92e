"""Text of other people in a page that Streamlit reads as Markdown."""

import re

# Between colons stands the name of a picture; before a letter a colon may begin that of a colour. The colon
# of an address's port is left: a backslash would become a part of the address.
_SIGNS = re.compile(r"[\\`*_\[\]<>|~$#]|:(?=[\w+-]+:|[^\W\d])")


def escaped(text: str) -> str:
    """The text that shows as it is: « a_b_c » keeps its underscores."""
    return _SIGNS.sub(r"\\\g<0>", text)
