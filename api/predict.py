"""What POST /predict is made of: reading a body into a decision, and writing decisions and refusals."""

import functools
import json
import logging
import math
import uuid
from collections.abc import Mapping
from typing import Any

from api import logs, strict_json
from mlflow_model.errors import (
    BadData,
    BodyTooLarge,
    InternalError,
    MissingFeatures,
    ScoringError,
    UnsupportedMediaType,
)
from mlflow_model.scoring import Scorer

BODY_LIMIT = 64 * 1024

_log = logging.getLogger(logs.ERRORS)


def decided(
    scorer: Scorer, content_type: str | None, content_encoding: str | None, body: bytes
) -> tuple[dict[str, Any], dict[str, str | float]]:
    """The client in a body, and the decision. Raises ScoringError, with the contract's sentence."""
    if content_type != "application/json" or content_encoding is not None:
        _check_headers(content_type, content_encoding)
    if len(body) > BODY_LIMIT:
        raise BodyTooLarge(BODY_LIMIT)
    client = strict_json.parse(body, scorer.features)
    try:
        return client, scorer.decide(client)
    except scorer.Refusal as refused:
        raise (MissingFeatures(refused.missing) if refused.missing else BadData(refused.detail)) from refused


def written(decision: Mapping[str, Any]) -> bytes:
    """A decision as JSON, byte for byte as json.dumps writes it; only two numbers are formatted anew."""
    margin = decision["margin"]
    frame = _frame(
        decision["prediction"],
        decision["optimal_threshold"],
        margin,
        math.copysign(1.0, margin),
        decision["lower_bound"],
        decision["upper_bound"],
    )
    return frame % (decision["probability_class_1"], decision["probability_class_0"])


def refusal(error: ScoringError) -> tuple[int, bytes]:
    """The contract's form of any answer but a decision."""
    return error.status, _encoded({"error": str(error)})


def internal_error(error: BaseException, asked_as: str | None) -> InternalError:
    """Log a bug under a reference of its own: where it happened, never the values it happened with.

    `asked_as`: the request's id.
    """
    reference = uuid.uuid4().hex[:12]
    facts = {"request_id": asked_as}
    _log.error("internal error %s: %s", reference, logs.told(error), extra={"facts": facts})
    return InternalError(reference)


@functools.lru_cache(maxsize=64)
def _frame(label: str, threshold: float, margin: float, sign: float, lower: float, upper: float) -> bytes:
    """The answer of every client with this label under one policy, with room for two probabilities.

    `sign` keeps 0.0 and -0.0 apart, which are equal and written differently.
    """
    fixed = _encoded(
        {
            "prediction": label,
            "probability_class_1": "<probability>",
            "probability_class_0": "<probability>",
            "optimal_threshold": threshold,
            "margin": margin,
            "lower_bound": lower,
            "upper_bound": upper,
        }
    )
    return fixed.replace(b"%", b"%%").replace(b'"<probability>"', b"%r")


def _check_headers(content_type: str | None, content_encoding: str | None) -> None:
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType("le type de contenu doit être application/json")
    if (content_encoding or "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("le corps de la requête ne doit pas être compressé (Content-Encoding)")


def _encoded(content: dict[str, str | float]) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()
