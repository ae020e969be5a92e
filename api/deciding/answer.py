"""What the service answers: a decision, or in the contract's form the reason why there is none."""

import json
import logging
import uuid
from collections.abc import Callable
from typing import NamedTuple

from api import logs, request_id
from api.delivery.served import Model
from mlflow_model.errors import InternalError, ScoringError

DECISION_ID = "X-Decision-Id"

_log = logging.getLogger(logs.ERRORS)


class Answer(NamedTuple):
    """`model` is the model that gave the answer. None if there is none, or if the caller may not ask.

    `decision_id`: of the receipt in the journal, None where there is none.
    """

    status: int
    content: bytes
    model: Model | None
    content_type: str = "application/json"
    own_headers: tuple[tuple[str, str], ...] = ()
    decision_id: str | None = None

    @classmethod
    def of(cls, error: ScoringError, model: Model | None) -> "Answer":
        """The contract's form of an error.

        A bundle's own sentence may hold half of a character, which is written as JSON's escape for it.
        """
        content = json.dumps({"error": str(error)}, ensure_ascii=False).encode("utf-8", "backslashreplace")
        return cls(error.status, content, model, own_headers=error.headers)

    def headers(self, asked_as: str) -> list[tuple[str, str]]:
        """What goes with it, besides its length. `asked_as`: the request's id."""
        model = () if self.model is None else self.model.headers
        decision = () if self.decision_id is None else ((DECISION_ID, self.decision_id),)
        return [
            *model,
            *decision,
            (request_id.HEADER, asked_as),
            *self.own_headers,
            ("Content-Type", self.content_type),
        ]


def internal_error(error: BaseException, asked_as: str | None) -> InternalError:
    """Log a bug under a reference of its own: where it happened, never the values it happened with.

    `asked_as`: the request's id.
    """
    reference = uuid.uuid4().hex[:12]
    facts = {"request_id": asked_as}
    _log.error("internal error %s: %s", reference, logs.told(error), extra={"facts": facts})
    return InternalError(reference)


def in_words(answer: Callable[[], Answer], model: Model | None, asked_as: str) -> Answer:
    """The answer, or in the contract's form why there is none. Never raises."""
    try:
        return answer()
    except ScoringError as error:
        return Answer.of(error, model)
    except BaseException as error:  # noqa: BLE001 - whatever a bundle's code raises
        return Answer.of(internal_error(error, asked_as), model)
