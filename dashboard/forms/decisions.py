"""A decision on a client, and those that the journal has, with what people said of them."""

from pydantic import FiniteFloat

from dashboard.forms.base import Form, Label, Moment, Numbers, Outcome, Share


class Decision(Form):
    prediction: str
    probability_class_1: Share
    lower_bound: Share
    upper_bound: Share


class PastDecision(Form):
    id: str
    time: Moment
    label: Label
    probability_class_1: FiniteFloat
    model_version: str | None
    leaning: Outcome | None
    outcome: Outcome | None
    reviewer: str | None
    reviewed: Moment | None
    is_erased: bool


class PastDecisions(Form):
    decisions: list[PastDecision]
    next: str | None


class Review(Form):
    reviewer: str
    outcome: Outcome
    reason: str | None


class Receipt(PastDecision):
    decision: Decision
    client_reference: str | None
    inputs: Numbers | None
    reviews: list[Review]
