"""What the registry says of a version beside its bundle: its card, and its last examination."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_model.errors import NotInRegistry
from mlflow_model.registry import connection, failures

LONGEST_CARD = 128 * 1024  # characters; ours have some thousands
EXAMINED_BY = "examination.run"  # the version's tag that names the run


@dataclass(frozen=True)
class Examined:
    """The run of an examination. `compared_with`: the champion's version, if there was one.

    `outcome`: what became of it. `differences`: by figure, candidate minus champion.
    """

    run: str
    experiment: str
    compared_with: str | None
    outcome: str | None
    objections: str | None
    differences: Mapping[str, float]


def card_of(name: str, version: str) -> str | None:
    """As far as a version's description holds it, and no more than LONGEST_CARD. Raises LoadingFailed."""
    client = connection.connect()
    with failures.in_words("lecture du registre"):
        description = client.get_model_version(name, version).description or ""
    is_long = len(description) > LONGEST_CARD
    return (description[:LONGEST_CARD] + "…" if is_long else description) or None


def last_of(name: str, version: str) -> Examined | None:
    """None if the version was never examined, or the run is gone. Raises LoadingFailed."""
    client = connection.connect()
    with failures.in_words("lecture du registre"):
        run = client.get_model_version(name, version).tags.get(EXAMINED_BY)
    if run is None:
        return None
    try:
        with failures.in_words("lecture du registre"):
            return _examined(client.get_run(run))
    except NotInRegistry:
        return None


def _examined(run: Any) -> Examined:
    tags = run.data.tags
    return Examined(
        run.info.run_id,
        run.info.experiment_id,
        _said(tags.get("champion"), nothing="None"),
        _said(tags.get("outcome")),
        _said(tags.get("objections"), nothing="none"),
        {figure: value for figure, value in run.data.metrics.items() if math.isfinite(value)},
    )


def _said(tag: str | None, nothing: str = "") -> str | None:
    return None if tag in (None, "", nothing) else tag
