"""The API's answers, read by the forms of `dashboard/forms/`: what has another form is of another service.

Checked once, where an answer arrives, so that no page meets a key or a kind of value that is not there.
"""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from pydantic import BaseModel


class OtherForm(ValueError):
    """The answer is no JSON, or has another form than the API's."""


def read(body: bytes, form: type[BaseModel]) -> dict[str, Any]:
    """The answer, with all that it has beside this form. Raises OtherForm."""
    try:
        found = json.loads(body, parse_constant=_no_number)
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
    return said if isinstance(said, str) else None


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)
