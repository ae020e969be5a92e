"""What the forms of the API's answers share: an answer may have more than a form names, and nothing less."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat


class Form(BaseModel):
    """What must be there. There may be more."""

    model_config = ConfigDict(strict=True, protected_namespaces=())


def _moment(text: str) -> str:
    try:
        datetime.fromisoformat(text).astimezone()
    except OverflowError as error:  # in another zone it would be beyond the calendar
        raise ValueError(text) from error
    return text


Moment = Annotated[str, AfterValidator(_moment)]
Label = Literal["reliable", "grey", "risky"]
Outcome = Literal["accept", "refuse"]
Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
Bound = Annotated[FiniteFloat, Field(ge=-1, le=2)]  # of a zone around any threshold
Numbers = dict[str, FiniteFloat | None]
