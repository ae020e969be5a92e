"""What the service asks for, in /openapi.json, and whether it serves."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field, FiniteFloat

from dashboard.forms.base import Form, Numbers
from dashboard.labels import KEYS


class Ratio(Form):
    numerator: str
    denominator: str
    decimals: Annotated[int, Field(ge=-15, le=15)]
    days_per_year: FiniteFloat | None
    epsilon: FiniteFloat | None
    labels: dict[str, str]


class Feature(Form):
    type: str | list[str]
    title: str = ""
    description: str = ""
    unit: str = Field("", alias="x-unit")
    table: str = Field("", alias="x-table")
    usual: list[FiniteFloat] = Field([0.0, 0.0], alias="x-usual", min_length=2, max_length=2)
    ratio: Ratio | None = Field(None, alias="x-ratio")


class AskedClient(Form):
    properties: dict[str, Feature]
    required: list[str]
    example: Numbers


class Labels(Form):
    enum: Annotated[list[str], Field(min_length=len(KEYS), max_length=len(KEYS))]


class DecisionColumns(Form):
    model_config = ConfigDict(strict=True, extra="allow")
    __pydantic_extra__: dict[str, dict[str, Any]]

    prediction: Labels


class DecisionSchema(Form):
    properties: DecisionColumns


class Schemas(Form):
    Client: AskedClient
    Decision: DecisionSchema


class Components(Form):
    schemas: Schemas


class ParameterSchema(Form):
    most: int | None = Field(None, alias="maxItems")


class Parameter(Form):
    name: str
    of: ParameterSchema = Field(alias="schema")


class Posted(Form):
    parameters: list[Parameter]


class Batch(Form):
    post: Posted


class Paths(Form):
    batch: Batch = Field(alias="/predict/batch")


class Specification(Form):
    components: Components
    paths: Paths


class Ready(Form):
    doubt: str | None
    journal: str
