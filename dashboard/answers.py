"""The form of the API's answers, as far as pages read them: whatever has another form is of another service.

Checked once, where an answer arrives, so that no page meets a key or a kind of value that is not there.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, NoReturn, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from dashboard.labels import KEYS


class OtherForm(ValueError):
    """The answer is no JSON, or has another form than the API's."""


class _Form(BaseModel):
    """What must be there. There may be more."""

    model_config = ConfigDict(strict=True, protected_namespaces=())


def _moment(text: str) -> str:
    datetime.fromisoformat(text).astimezone()
    return text


Moment = Annotated[str, AfterValidator(_moment)]
Label = Literal["reliable", "grey", "risky"]
Outcome = Literal["accept", "refuse"]
Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
Numbers = dict[str, FiniteFloat | None]


class Decision(_Form):
    prediction: str
    probability_class_1: Share
    lower_bound: Share
    upper_bound: Share


# ---- What the service asks for, and whether it serves


class Ratio(_Form):
    numerator: str
    denominator: str
    decimals: Annotated[int, Field(ge=-15, le=15)]
    days_per_year: FiniteFloat | None
    epsilon: FiniteFloat | None
    labels: dict[str, str]


class Feature(_Form):
    type: str | list[str]
    title: str = ""
    description: str = ""
    unit: str = Field("", alias="x-unit")
    table: str = Field("", alias="x-table")
    usual: list[FiniteFloat] = Field([0.0, 0.0], alias="x-usual", min_length=2, max_length=2)
    ratio: Ratio | None = Field(None, alias="x-ratio")


class AskedClient(_Form):
    properties: dict[str, Feature]
    required: list[str]
    example: Numbers


class Labels(_Form):
    enum: Annotated[list[str], Field(min_length=len(KEYS), max_length=len(KEYS))]


class DecisionColumns(_Form):
    model_config = ConfigDict(strict=True, extra="allow")
    __pydantic_extra__: dict[str, dict[str, Any]]

    prediction: Labels


class DecisionSchema(_Form):
    properties: DecisionColumns


class Schemas(_Form):
    Client: AskedClient
    Decision: DecisionSchema


class Components(_Form):
    schemas: Schemas


class ParameterSchema(_Form):
    most: int | None = Field(None, alias="maxItems")


class Parameter(_Form):
    name: str
    of: ParameterSchema = Field(alias="schema")


class Posted(_Form):
    parameters: list[Parameter]


class Batch(_Form):
    post: Posted


class Paths(_Form):
    batch: Batch = Field(alias="/predict/batch")


class Specification(_Form):
    components: Components
    paths: Paths


class Ready(_Form):
    doubt: str | None
    journal: str


# ---- The served version


class Provenance(_Form):
    costs: dict[str, Any] | None = None


class Policy(_Form):
    optimal_threshold: FiniteFloat
    margin: FiniteFloat
    lower_bound: FiniteFloat
    upper_bound: FiniteFloat
    provenance: Provenance | None


class Population(_Form):
    quantiles: list[FiniteFloat] | None


class ModelFeature(_Form):
    name: str
    label: str | None
    unit: str | None
    share_of_gain: FiniteFloat | None
    population: Population | None


class Model(_Form):
    name: str
    version: str | None
    alias: str | None
    digest: str
    policy: Policy
    explains: bool
    features: list[ModelFeature]


class Champion(_Form):
    version: str
    how: str
    since: Moment | None
    until: Moment | None
    why: str | None
    overridden: str | None


class Examination(_Form):
    run: str
    experiment: str
    compared_with: str | None
    outcome: str | None
    differences: dict[str, FiniteFloat]


class ModelHistory(_Form):
    card: str | None
    champions: list[Champion]
    examination: Examination | None


# ---- The reference clients


class Origin(_Form):
    name: str
    is_drawn: bool
    outcome: str | None
    clients: int
    left_out: int


class Costs(_Form):
    false_negative: FiniteFloat
    false_positive: Annotated[FiniteFloat, Field(gt=0)]


class Group(_Form):
    clients: int
    defaults: FiniteFloat | None


class Figures(_Form):
    auc: FiniteFloat | None
    ece: FiniteFloat | None


class Groups(_Form):
    reliable: Group
    grey: Group
    risky: Group


class Tenth(_Form):
    clients: int
    predicted: FiniteFloat
    observed: FiniteFloat


class Interval(_Form):
    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat


class FairnessGroup(_Form):
    name: str
    clients: int
    default_rate: Interval | None
    mean_probability: FiniteFloat
    approval_rate: Interval | None
    equal_opportunity: FiniteFloat | None


class Comparison(_Form):
    attribute: str
    groups: list[FairnessGroup]
    approval_ratio: Interval | None
    is_below_four_fifths: bool
    opportunity_gap: Interval | None


class Threshold(_Form):
    threshold: FiniteFloat
    lower_bound: FiniteFloat
    upper_bound: FiniteFloat
    reliable: int
    grey: int
    risky: int
    changed: int
    cost_per_client: FiniteFloat | None
    defaults_of_reliable: FiniteFloat | None


class Bins(_Form):
    reliable: list[int]
    grey: list[int]
    risky: list[int]


class Unknown(_Form):
    reliable: int
    grey: int
    risky: int


class FeatureTotals(_Form):
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


class Reference(_Form):
    reference: Origin
    costs: Costs
    labels: Groups
    figures: Figures | None
    calibration: list[Tenth] | None
    fairness: list[Comparison] | None
    thresholds: Annotated[list[Threshold], Field(min_length=1)]
    now: Threshold
    features: list[FeatureTotals]


class ReferenceClient(_Form):
    number: int
    label: Label
    defaulted: bool | None
    features: Numbers


class ReferenceClients(_Form):
    clients: list[ReferenceClient]
    next: int | None


class Place(_Form):
    below: FiniteFloat


class Neighbours(_Form):
    neighbours: list[ReferenceClient]
    percentiles: dict[str, Place | None]


# ---- An explanation


class Contribution(_Form):
    feature: str
    points: FiniteFloat


class Sentence(_Form):
    sentence: str


class Warned(_Form):
    feature: str | None
    sentence: str


class Reasons(_Form):
    pro: list[Sentence] = Field(alias="for")
    against: list[Sentence]


class Ends(_Form):
    before: FiniteFloat = Field(alias="from")
    to: FiniteFloat


class Offer(_Form):
    change: dict[str, Ends]
    client: Numbers
    prediction: str
    sentence: str


class Searched(_Form):
    levers: list[str]
    ranges: dict[str, Ends]


class Offers(_Form):
    sentence: str
    found: list[Offer]
    worse: Offer | None
    searched: list[Searched]


class Explanation(_Form):
    decision: Decision
    contributions: list[Contribution]
    reasons: Reasons
    warnings: list[Warned]
    offers: Offers


# ---- The journal


class PastDecision(_Form):
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


class PastDecisions(_Form):
    decisions: list[PastDecision]
    next: str | None


class Review(_Form):
    reviewer: str
    outcome: Outcome
    reason: str | None


class Receipt(PastDecision):
    decision: Decision
    client_reference: str | None
    inputs: Numbers | None
    reviews: list[Review]


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
