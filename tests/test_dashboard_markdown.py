"""Text of other people shows on a page as it was written."""

import pytest

from dashboard.markdown import escaped


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a_b_c *d*", r"a\_b\_c \*d\*"),
        (":red[x] :+1: :100: 1:100:5", r"\:red\[x\] \:+1: \:100: 1\:100:5"),
        ("http://127.0.0.1:5999. Est-elle", "http://127.0.0.1:5999. Est-elle"),
        ("http://localhost:5999 et http://h:80/", "http://localhost:5999 et http://h:80/"),
        ("à 12:30", "à 12:30"),
        ("x:red", r"x\:red"),
    ],
)
def test_signs_of_markdown_are_escaped_and_an_address_is_left(text: str, written: str) -> None:
    assert escaped(text) == written
