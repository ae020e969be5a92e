"""Decides one request: headers and body bytes in, status and body bytes out. Every HTTP door calls this."""

import json
import logging
import traceback
import uuid

from api import strict_json
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

_log = logging.getLogger("scoring_client")


def answer(
    scorer: Scorer, content_type: str | None, content_encoding: str | None, body: bytes
) -> tuple[int, bytes]:
    """The whole of POST /predict but for the transport. Never raises what the contract has a sentence for."""
    try:
        _check_headers(content_type, content_encoding)
        if len(body) > BODY_LIMIT:
            raise BodyTooLarge(BODY_LIMIT)
        return 200, _encoded(_decide(scorer, body))
    except ScoringError as error:
        return refusal(error)


def refusal(error: ScoringError) -> tuple[int, bytes]:
    """The contract's form of any answer but a decision."""
    return error.status, _encoded({"error": str(error)})


def internal_error(error: BaseException) -> InternalError:
    """Log a bug under a reference of its own: where it happened, never the values it happened with."""
    reference = uuid.uuid4().hex[:12]
    places = " < ".join(
        f"{frame.filename}:{frame.lineno}" for frame in reversed(traceback.extract_tb(error.__traceback__))
    )
    _log.error("internal error %s: %s at %s", reference, type(error).__name__, places)
    return InternalError(reference)


def _decide(scorer: Scorer, body: bytes) -> dict[str, str | float]:
    client = strict_json.parse(body, scorer.features)
    try:
        return scorer.decide(client)
    except scorer.Refusal as refused:
        raise (MissingFeatures(refused.missing) if refused.missing else BadData(refused.detail)) from refused


def _check_headers(content_type: str | None, content_encoding: str | None) -> None:
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType("le type de contenu doit être application/json")
    if (content_encoding or "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("le corps de la requête ne doit pas être compressé (Content-Encoding)")


def _encoded(content: dict[str, str | float]) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()
