"""What POST /predict is made of: reading a body into a decision, and writing decisions and refusals."""

import functools
import json
import logging
import math
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from api import logs, strict_json
from mlflow_model.errors import (
    BadData,
    BodyTooLarge,
    InternalError,
    MissingFeatures,
    ScoringError,
    UnsupportedMediaType,
)
from mlflow_model.scoring import OUTPUT_COLUMNS, Scorer

BODY_LIMIT = 64 * 1024

_log = logging.getLogger(logs.ERRORS)

# What every format has a cell for.
WRITABLE = frozenset({str, float, int, bool, type(None)})

_USUAL_COLUMNS = [*OUTPUT_COLUMNS]
_MOST_LABELS, _LONGEST_LABEL = 64, 1_000
_last: dict[str, tuple[object, object, object, object, bytes]] = {}  # by label: policy, and the answer around


class NotADecision(TypeError):
    """The bundle's own code has answered something that not every door can write."""


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
    """A decision as JSON: the columns that the bundle's own code gave it, in their order.

    Byte for byte what json.dumps writes, but of the usual columns only the probabilities are formatted anew:
    the policy's numbers are nearly always the very objects of the answer before with this label. Raises
    NotADecision.
    """
    if [*decision] != _USUAL_COLUMNS:
        return _in_full(decision)
    label, risk, safe, threshold, margin, lower, upper = decision.values()
    if not (type(risk) is type(safe) is float and math.isfinite(risk + safe)):
        return _in_full(decision)
    last = _last.get(label)
    if last and last[0] is threshold and last[1] is margin and last[2] is lower and last[3] is upper:
        return last[4] % (_probability(risk), _probability(safe))
    are_usual = type(threshold) is type(margin) is type(lower) is type(upper) is float
    if not are_usual or type(label) is not str or len(label) > _LONGEST_LABEL:  # which would stay in memory
        return _in_full(decision)
    policy = (threshold, margin, lower, upper)
    frame = _frame(label, policy, tuple(math.copysign(1.0, number) for number in policy))
    if len(_last) >= _MOST_LABELS:
        _last.clear()
    _last[label] = (*policy, frame)
    return frame % (_probability(risk), _probability(safe))


def _probability(value: float) -> bytes:
    """As json.dumps writes it. Where that needs no exponent orjson writes the same, five times as fast."""
    return orjson.dumps(value) if 1e-4 <= value <= 1.0 else repr(value).encode()


def check_columns(names: Iterable[object]) -> None:
    """What every decision must have, whatever else it has: metrics count it. Raises NotADecision."""
    found = list(names)
    if not {"prediction", "probability_class_1"} <= set(found) or set(map(type, found)) != {str}:
        raise NotADecision


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
def _frame(label: str, policy: tuple[float, ...], signs: tuple[float, ...]) -> bytes:
    """The answer of every client with this label under one policy, with room for two probabilities.

    `signs` keep 0.0 and -0.0 apart, which are equal and written differently.
    """
    decision = dict(zip(OUTPUT_COLUMNS, (label, 0.0, 0.0, *policy), strict=True))
    room = b'"probability_class_1": %b, "probability_class_0": %b'
    return _in_full(decision).replace(b"%", b"%%").replace(room.replace(b"%b", b"0.0"), room)


def _in_full(decision: Mapping[str, Any]) -> bytes:
    """A text, a finite number, a boolean or nothing in each column: what every format has a cell for."""
    check_columns(decision)
    if type(decision["prediction"]) is not str or type(decision["probability_class_1"]) is not float:
        raise NotADecision
    if not WRITABLE.issuperset(map(type, decision.values())):
        raise NotADecision
    try:
        return json.dumps(decision, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:  # not finite, or half of a character
        raise NotADecision from error


def _check_headers(content_type: str | None, content_encoding: str | None) -> None:
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType("le type de contenu doit être application/json")
    if (content_encoding or "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("le corps de la requête ne doit pas être compressé (Content-Encoding)")


def _encoded(content: dict[str, str | float]) -> bytes:
    """Half of a character, which a bundle's own sentence may have, is written as JSON's escape for it."""
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "backslashreplace")
