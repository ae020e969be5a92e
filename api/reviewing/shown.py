"""Decisions as JSON: in a list without the client's values, by themselves with all that the journal knows."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from journal import events, ids, reading
from journal.listing import Place, Unread
from journal.models import LABELS, Model
from journal.reading import Record
from journal.record import Kind

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def line(one: Record, last: Record | None, *, is_answered: bool) -> dict[str, Any]:
    """A decision in a list. `last`: its last review, None without one."""
    model, answered = _answered(one)
    review = None if last is None else _review(last)
    return {
        "id": ids.written(one.id),
        "time": moment(one.time),
        "label": LABELS[one.label or 0],
        "prediction": answered["prediction"],
        "probability_class_1": answered["probability_class_1"],
        "model_version": model.version,
        "leaning": _leaning(answered),
        "outcome": review and review["outcome"],
        "reviewer": review and review["reviewer"],
        "reviewed": review and review["time"],
        "is_erased": one.is_erased,
        "is_answered": is_answered,
    }


def unread(one: Unread) -> dict[str, Any]:
    """A decision in a list that cannot be shown. `position`: of the record that is damaged."""
    more = "«\u00a0python -m journal verify\u00a0» en dit plus."
    said = f"L’enregistrement {one.position} est endommagé\u00a0: {more}"
    return {"id": own_id(one.place), "position": one.position, "error": said}


def own_id(place: Place) -> str | None:
    """None where it is damaged, too."""
    is_whole = isinstance(place.id, bytes) and len(place.id) == ids.LENGTH
    return ids.written(place.id) if is_whole else None


def whole(one: Record, about: Sequence[Record], *, is_answered: bool) -> dict[str, Any]:
    """All that is known. `about`: the events about it, in their order."""
    model, answered = _answered(one)
    kept, client = one.kept, one.client
    reviews = [other for other in about if other.kind == Kind.REVIEW]
    return {
        **line(one, reviews[-1] if reviews else None, is_answered=is_answered),
        "decision": answered,
        "model": {"name": model.name, "version": model.version, "digest": model.digest, "code": model.code},
        "door": kept.door,
        "caller": kept.caller or None,
        "batch": ids.written(kept.call_id) if kept.call_id else None,
        "request_id": client.request_id if client else None,
        "client_reference": (client.client_reference or None) if client else None,
        "inputs": _inputs(one, model, client.inputs) if client else None,
        "reviews": [_review(other) for other in reviews],
        "is_held": is_held(about),
        "custody": [_custody(other) for other in about if other.kind in _CUSTODY],
        "record": {"position": one.position, "writer": one.writer, "sequence": one.sequence},
    }


_CUSTODY = {Kind.ERASURE: "erasure", Kind.HOLD: "hold", Kind.RELEASE: "release"}


def is_held(about: Iterable[Record]) -> bool:
    found = [one.kind for one in about if one.kind in (Kind.HOLD, Kind.RELEASE)]
    return bool(found) and found[-1] == Kind.HOLD


def moment(time: int) -> str:
    """Microseconds since 1970 as ISO 8601."""
    return f"{_EPOCH + timedelta(microseconds=time):%Y-%m-%dT%H:%M:%S.%fZ}"


def _answered(one: Record) -> tuple[Model, dict[str, str | float]]:
    """The model, and its answer by the names of its columns. Raises Damaged."""
    kept, model = one.kept, one.model
    with reading.readable(one.position):
        if model is None or not all(math.isfinite(float(one)) for one in kept.outputs[1:]):
            raise ValueError("no receipt")
        return model, dict(zip(model.columns, kept.outputs, strict=True))


def _leaning(answered: Mapping[str, str | float]) -> str | None:
    """What the model would do without a grey zone: a review is held against it. None at the threshold itself,
    or where the version's own columns do not tell the threshold."""
    probability, threshold = answered["probability_class_1"], answered.get("optimal_threshold")
    if not (isinstance(probability, float) and isinstance(threshold, float)) or probability == threshold:
        return None
    return events.ACCEPT if probability < threshold else events.REFUSE


def _inputs(one: Record, model: Model, inputs: Sequence[float]) -> dict[str, float | None]:
    """Raises Damaged: no client has an infinite value."""
    if any(map(math.isinf, inputs)):
        raise reading.damaged(one.position)
    return {
        name: None if value != value else value for name, value in zip(model.features, inputs, strict=True)
    }


def _review(one: Record) -> dict[str, Any]:
    event = one.event
    if not isinstance(event, events.Review):
        raise ValueError("no review")
    return {
        "id": ids.written(one.id),
        "time": moment(one.time),
        "reviewer": event.reviewer,
        "outcome": event.outcome,
        "reason": None if one.is_erased else event.reason,
    }


def _custody(one: Record) -> dict[str, Any]:
    event = one.event
    if not isinstance(event, events.Erasure | events.Hold | events.Release):
        raise ValueError("no event of custody")
    return {"time": moment(one.time), "event": _CUSTODY[one.kind], "by": event.by, "why": event.why}
