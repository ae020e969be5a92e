"""Decides on one client: the body of POST /predict is read into a decision, which is written as JSON."""

import functools
import json
import math
from collections.abc import Mapping
from typing import Any

import orjson

from api.deciding import content_headers, strict_json
from api.paths import PREDICT
from mlflow_model.bundle.decision_columns import WRITABLE, NotADecision, check_names
from mlflow_model.bundle.scoring import OUTPUT_COLUMNS, Scorer
from mlflow_model.errors import BadData, BodyTooLarge, MissingFeatures

_USUAL_COLUMNS = [*OUTPUT_COLUMNS]
_MOST_LABELS, _LONGEST_LABEL = 64, 1_000
# By label: the policy's numbers, and the answer with room for two probabilities.
_last: dict[str, tuple[object, object, object, object, bytes]] = {}


def decide(
    scorer: Scorer, content_type: str | None, content_encoding: str | None, body: bytes
) -> tuple[dict[str, Any], dict[str, str | float]]:
    """Read the client and decide on it. Return both. Raises ScoringError, with the contract's sentence."""
    if content_type != "application/json" or content_encoding is not None:
        content_headers.check_json(content_type, content_encoding)
    if len(body) > PREDICT.body_limit:
        raise BodyTooLarge(PREDICT.body_limit)
    client = strict_json.parse(body, scorer.features)
    try:
        return client, scorer.decide(client)
    except scorer.Refusal as refused:
        if refused.missing:
            raise MissingFeatures(refused.missing, client) from refused
        raise BadData(refused.detail) from refused


def written(decision: Mapping[str, Any]) -> bytes:
    """A decision as JSON: the columns that the bundle's own code gave it, in their order.

    Byte for byte what json.dumps writes. For the usual columns only the two probabilities are formatted each
    time: the policy's numbers are nearly always the same objects as in the last answer with this label.
    Raises NotADecision.
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
    """As json.dumps writes it. Without an exponent orjson writes the same, five times faster."""
    return orjson.dumps(value) if 1e-4 <= value <= 1.0 else repr(value).encode()


@functools.lru_cache(maxsize=64)
def _frame(label: str, policy: tuple[float, ...], signs: tuple[float, ...]) -> bytes:
    """The answer of every client with this label under one policy, with room for two probabilities.

    `signs` keep 0.0 and -0.0 apart, which are equal and written differently.
    """
    decision = dict(zip(OUTPUT_COLUMNS, (label, 0.0, 0.0, *policy), strict=True))
    room = b'"probability_class_1": %b, "probability_class_0": %b'
    return _in_full(decision).replace(b"%", b"%%").replace(room.replace(b"%b", b"0.0"), room)


def _in_full(decision: Mapping[str, Any]) -> bytes:
    """Write any columns of texts, finite numbers, booleans and None. Raises NotADecision."""
    check_names(decision)
    if type(decision["prediction"]) is not str or type(decision["probability_class_1"]) is not float:
        raise NotADecision
    if not WRITABLE.issuperset(map(type, decision.values())):
        raise NotADecision
    try:
        return json.dumps(decision, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:  # not finite, or half of a character
        raise NotADecision from error
