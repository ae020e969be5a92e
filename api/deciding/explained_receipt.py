"""Explains a decision that was recorded, by the version that made it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from api.deciding import bank_tariff
from api.deciding.answer import Answer
from api.deciding.explained_client import Explanation
from api.deciding.listener import Listener
from api.deciding.task import ModelTask
from api.delivery.served import Model
from mlflow_model.errors import CannotExplain, CannotExplainPast, ExplanationTooSlow


@dataclass(frozen=True)
class PastExplanation(ModelTask):
    """`body`: the `inputs` and the `decision` of a receipt, as JSON."""

    called = "an explanation of a past decision"
    seconds = 10.0
    too_slow = ExplanationTooSlow
    places = Explanation.places
    is_small = False

    def answer(self, model: Model, listeners: Sequence[Listener]) -> Answer:
        """With the loans that the bank sells now. Raises CannotExplainPast."""
        from explain import explanation  # a worker has no need of it as long as processes can be started

        receipt = json.loads(self.body)
        tariff = bank_tariff.in_force()
        try:
            content = explanation.of(model.scorer, receipt["inputs"], receipt["decision"], tariff)
        except CannotExplain as error:
            raise CannotExplainPast from error
        return Answer(200, json.dumps(content, ensure_ascii=False, allow_nan=False).encode(), model)
