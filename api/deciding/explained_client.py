"""Explains the decision on one client: headers and body bytes in; status and body bytes out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from api.deciding import bank_tariff, one_client
from api.deciding.answer import Answer
from api.deciding.listener import Listener
from api.deciding.places import Places, Room
from api.deciding.task import ModelTask
from api.delivery.served import Model
from mlflow_model.errors import ExplanationTooSlow, TooManyExplanations

ROOM = Room(at_once=1, waiting=8, wait_seconds=2.0)


@dataclass(frozen=True)
class Explanation(ModelTask):
    """A request to POST /explain."""

    called = "an explanation"
    seconds = 10.0
    too_slow = ExplanationTooSlow
    places = Places(ROOM, TooManyExplanations)
    is_small = False

    content_type: str | None
    content_encoding: str | None

    def decided(self, model: Model) -> tuple[dict[str, Any], dict[str, str | float]]:
        """The client, and the decision as POST /predict makes it. Raises ScoringError."""
        return one_client.decide(model.scorer, self.content_type, self.content_encoding, self.body)

    def answer(self, model: Model, listeners: Sequence[Listener]) -> Answer:
        """Nobody is told: the decision is explained, and not made anew."""
        from explain import explanation  # a worker has no need of it as long as processes can be started

        content = explanation.of(model.scorer, *self.decided(model), bank_tariff.in_force())
        return Answer(200, json.dumps(content, ensure_ascii=False, allow_nan=False).encode(), model)
