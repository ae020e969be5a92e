"""What the paths below /decisions take and answer, for the OpenAPI document."""

from typing import Any

from api.paths import DECISION, DECISIONS, REVIEWED, Endpoint
from api.reviewing.parameters import MOST, ORDERS, USUAL_LIMIT
from journal.events import OUTCOMES
from journal.models import LABELS

Schema = dict[str, Any]

_NUMBER, _TEXT, _BOOLEAN, _INTEGER = ({"type": kind} for kind in ("number", "string", "boolean", "integer"))
_ID = {"type": "string", "format": "uuid"}
_MOMENT = {"type": "string", "format": "date-time"}
_OUTCOME = {
    "type": "string",
    "enum": [*OUTCOMES],
    "description": "accept\u00a0: accorder ; refuse\u00a0: refuser.",
}
_LABEL = {"type": "string", "enum": [*LABELS]}
_LEANING = (
    "Ce que le modèle ferait sans zone grise\u00a0: accept sous le seuil, refuse au-dessus, "
    "null au seuil même."
)

# The schemas of the body that a path reads, and of its answer.
BODIES = {REVIEWED: "NewReview"}
ANSWERS = {DECISIONS: "PastDecisions", DECISION: "PastDecision", REVIEWED: "Review"}


def schemas() -> Schema:
    return {
        "PastDecisions": _object(
            {
                "decisions": _list_of(_object(_line())),
                "damaged": _list_of(_object({"id": _or_null(_ID), "position": _INTEGER, "error": _TEXT})),
                "next": _or_null(_ID),
            }
        ),
        "PastDecision": _object({**_line(), **_receipt()}),
        "NewReview": _new_review(),
        "Review": _object({**_review(), "decision": _ID}),
    }


def parameters(path: Endpoint) -> list[Schema]:
    """Of the path's own, and of the query."""
    if path is DECISIONS:
        return [_of_query(name, schema, meaning) for name, (schema, meaning) in _QUERY.items()]
    return [{"name": "id", "in": "path", "required": True, "schema": _ID}]


_QUERY: dict[str, tuple[Schema, str]] = {
    "label": (_LABEL, "Seulement les décisions fiables, de la zone grise ou risquées."),
    "open": ({"type": "string", "enum": ["true"]}, "Seulement la zone grise qui n’a pas été revue."),
    "reviewed": ({"type": "string", "enum": ["true"]}, "Seulement celles qui ont été revues."),
    "model_version": (_TEXT, "Seulement celles d’une version du modèle."),
    "since": (_TEXT, "À partir de cet instant, ISO 8601, UTC."),
    "until": (_TEXT, "Avant cet instant."),
    "order": (
        {"type": "string", "enum": [*ORDERS]},
        "La plus récente d’abord (newest, si rien n’est dit), ou la plus ancienne (oldest).",
    ),
    "after": (_ID, "Le next de la page précédente."),
    "limit": (_INTEGER, f"De 1 à {MOST} décisions, {USUAL_LIMIT} si rien n’est dit."),
}


def _of_query(name: str, schema: Schema, meaning: str) -> Schema:
    return {"name": name, "in": "query", "description": meaning, "schema": schema}


def _line() -> Schema:
    return {
        "id": _ID,
        "time": _MOMENT,
        "label": _LABEL,
        "prediction": _TEXT,
        "probability_class_1": _NUMBER,
        "model_version": _or_null(_TEXT),
        "leaning": {"type": ["string", "null"], "enum": [*OUTCOMES, None], "description": _LEANING},
        "outcome": {"type": ["string", "null"], "description": "Celle de la dernière revue."},
        "reviewer": {"type": ["string", "null"], "description": "Qui a fait la dernière revue."},
        "reviewed": {**_or_null(_MOMENT), "description": "Quand elle a été faite."},
        "is_erased": _BOOLEAN,
        "is_answered": {
            "type": "boolean",
            "description": "false\u00a0: un refus est parti à la place de la réponse, ou son lot n’a pas été "
            "inscrit en entier ; personne n’a reçu cette décision.",
        },
    }


def _receipt() -> Schema:
    values = {"type": ["number", "null"]}
    event = {"time": _MOMENT, "event": {"type": "string", "enum": ["erasure", "hold", "release"]}}
    return {
        "decision": {"type": "object", "description": "La décision, telle qu’elle est enregistrée."},
        "model": _object({"name": _TEXT, "version": _or_null(_TEXT), "digest": _TEXT, "code": _TEXT}),
        "door": _TEXT,
        "caller": {"type": ["string", "null"], "description": "Le nom du jeton qui a demandé la décision."},
        "batch": _or_null(_ID),
        "request_id": _or_null(_TEXT),
        "client_reference": _or_null(_TEXT),
        "inputs": {"type": ["object", "null"], "additionalProperties": values},
        "reviews": _list_of(_object(_review())),
        "is_held": _BOOLEAN,
        "custody": _list_of(_object({**event, "by": _TEXT, "why": _TEXT})),
        "record": _object({"position": _INTEGER, "writer": _INTEGER, "sequence": _INTEGER}),
    }


def _review() -> Schema:
    return {
        "id": _ID,
        "time": _MOMENT,
        "reviewer": _TEXT,
        "outcome": _OUTCOME,
        "reason": _or_null(_TEXT),
    }


def _new_review() -> Schema:
    reviewer = "Qui revoit, là où le service ne demande pas de jetons ; ailleurs c’est le nom du jeton."
    return {
        "type": "object",
        "required": ["outcome", "reason"],
        "properties": {
            "outcome": _OUTCOME,
            "reason": _TEXT,
            "reviewer": {"type": "string", "description": reviewer},
        },
        "additionalProperties": False,
    }


def _or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _object(properties: Schema) -> Schema:
    return {"type": "object", "required": [*properties], "properties": properties}


def _list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}
