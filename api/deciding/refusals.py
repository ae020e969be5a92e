"""Every answer but a decision, in the contract's form: a status and one sentence as JSON."""

import json
import logging
import uuid

from api import logs
from mlflow_model.errors import InternalError, ScoringError

_log = logging.getLogger(logs.ERRORS)


def refusal(error: ScoringError) -> tuple[int, bytes]:
    """The status and the JSON of an error.

    A bundle's own sentence may hold half of a character, which is written as JSON's escape for it.
    """
    content = json.dumps({"error": str(error)}, ensure_ascii=False)
    return error.status, content.encode("utf-8", "backslashreplace")


def internal_error(error: BaseException, asked_as: str | None) -> InternalError:
    """Log a bug under a reference of its own: where it happened, never the values it happened with.

    `asked_as`: the request's id.
    """
    reference = uuid.uuid4().hex[:12]
    facts = {"request_id": asked_as}
    _log.error("internal error %s: %s", reference, logs.told(error), extra={"facts": facts})
    return InternalError(reference)
