"""The API's answers, read by the forms of `dashboard/forms/`: what has another form is of another service.

Checked once, where an answer arrives, so that no page meets a key or a kind of value that is not there.
"""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from pydantic import BaseModel

_ESCAPED_SURROGATE = rb"\ud"
_MOST_DIGITS = 18


class OtherForm(ValueError):
    """The answer is no JSON, or has another form than the API's."""


def read(body: bytes, form: type[BaseModel]) -> dict[str, Any]:
    """The answer, with all that it has beside this form. Raises OtherForm."""
    try:
        found = json.loads(body, parse_constant=_no_number, parse_int=_whole)
        if _ESCAPED_SURROGATE in body.lower():
            json.dumps(found, ensure_ascii=False).encode()  # half a character can be shown nowhere
        form.model_validate(found)
    except (ValueError, RecursionError) as error:  # ValidationError is a ValueError, too
        raise OtherForm(form.__name__) from error
    answer: dict[str, Any] = found
    return answer


def sentence_of(body: bytes) -> str | None:
    """The API's own sentence about a refusal; None if the body has none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    said = found.get("error") if isinstance(found, Mapping) else None
    return said.encode(errors="replace").decode() if isinstance(said, str) else None


def _whole(text: str) -> int:
    """No page counts so far, and a larger one is no double."""
    if len(text) > _MOST_DIGITS:
        raise ValueError(text)
    return int(text)


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)
