"""The served version: its policy, its features, and what the registry says of it."""

from typing import Any

from pydantic import FiniteFloat

from dashboard.forms.base import Bound, Form, Moment, Share


class Provenance(Form):
    costs: dict[str, Any] | None = None


class Policy(Form):
    optimal_threshold: Share
    margin: FiniteFloat
    lower_bound: Bound
    upper_bound: Bound
    provenance: Provenance | None


class Population(Form):
    quantiles: list[FiniteFloat] | None


class ModelFeature(Form):
    name: str
    label: str | None
    unit: str | None
    share_of_gain: FiniteFloat | None
    population: Population | None


class Model(Form):
    name: str
    version: str | None
    alias: str | None
    digest: str
    policy: Policy
    explains: bool
    features: list[ModelFeature]


class Champion(Form):
    version: str
    how: str
    since: Moment | None
    until: Moment | None
    why: str | None
    overridden: str | None


class Examination(Form):
    run: str
    experiment: str
    compared_with: str | None
    outcome: str | None
    differences: dict[str, FiniteFloat]


class ModelHistory(Form):
    card: str | None
    champions: list[Champion]
    examination: Examination | None
