"""An explanation of a decision: points, reasons, warnings, and what would change it."""

from pydantic import Field, FiniteFloat

from dashboard.forms.base import Form, Numbers
from dashboard.forms.decisions import Decision


class Contribution(Form):
    feature: str
    points: FiniteFloat


class Sentence(Form):
    sentence: str


class Warned(Form):
    feature: str | None
    sentence: str


class Reasons(Form):
    pro: list[Sentence] = Field(alias="for")
    against: list[Sentence]


class Ends(Form):
    before: FiniteFloat = Field(alias="from")
    to: FiniteFloat


class Offer(Form):
    change: dict[str, Ends]
    client: Numbers
    prediction: str
    sentence: str


class Searched(Form):
    levers: list[str]
    ranges: dict[str, Ends]


class Offers(Form):
    sentence: str
    found: list[Offer]
    worse: Offer | None
    searched: list[Searched]


class Explanation(Form):
    decision: Decision
    contributions: list[Contribution]
    reasons: Reasons
    warnings: list[Warned]
    offers: Offers
