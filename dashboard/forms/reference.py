"""The reference clients: what the served version does to all of them, and single ones."""

from typing import Annotated, Self

from pydantic import Field, FiniteFloat, model_validator

from dashboard.forms.base import Bound, Form, Label, Numbers, Share
from dashboard.labels import KEYS


class Origin(Form):
    name: str
    is_drawn: bool
    outcome: str | None
    clients: int
    left_out: int


class Costs(Form):
    false_negative: FiniteFloat
    false_positive: Annotated[FiniteFloat, Field(gt=0)]


class Group(Form):
    clients: int
    defaults: FiniteFloat | None


class Figures(Form):
    auc: FiniteFloat | None
    ece: FiniteFloat | None


class Groups(Form):
    reliable: Group
    grey: Group
    risky: Group


class Tenth(Form):
    clients: int
    predicted: FiniteFloat
    observed: FiniteFloat


class Interval(Form):
    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat


class FairnessGroup(Form):
    name: str
    clients: int
    default_rate: Interval | None
    mean_probability: FiniteFloat
    approval_rate: Interval | None
    equal_opportunity: FiniteFloat | None


class Comparison(Form):
    attribute: str
    groups: list[FairnessGroup]
    approval_ratio: Interval | None
    is_below_four_fifths: bool
    opportunity_gap: Interval | None


class Threshold(Form):
    threshold: Share
    lower_bound: Bound
    upper_bound: Bound
    reliable: int
    grey: int
    risky: int
    changed: int
    cost_per_client: FiniteFloat | None
    defaults_of_reliable: FiniteFloat | None


class Bins(Form):
    reliable: list[int]
    grey: list[int]
    risky: list[int]


class Unknown(Form):
    reliable: int
    grey: int
    risky: int


class FeatureTotals(Form):
    name: str
    edges: list[FiniteFloat]
    clients: Bins
    unknown: Unknown

    @model_validator(mode="after")
    def _counts_each_bin(self) -> Self:
        bins = max(len(self.edges) - 1, 0)
        if any(len(getattr(self.clients, key)) != bins for key in KEYS):
            raise ValueError("as many counts as there are bins")
        return self


class Reference(Form):
    reference: Origin
    costs: Costs
    labels: Groups
    figures: Figures | None
    calibration: list[Tenth] | None
    fairness: list[Comparison] | None
    thresholds: Annotated[list[Threshold], Field(min_length=1)]
    now: Threshold
    features: list[FeatureTotals]


class ReferenceClient(Form):
    number: int
    label: Label
    defaulted: bool | None
    features: Numbers


class ReferenceClients(Form):
    clients: list[ReferenceClient]
    next: int | None


class Place(Form):
    below: FiniteFloat


class Neighbours(Form):
    neighbours: list[ReferenceClient]
    percentiles: dict[str, Place | None]
