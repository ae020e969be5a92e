"""What the paths about the version and the reference clients take and answer, for the OpenAPI document."""

from typing import Any

from api.paths import MODEL, MODEL_HISTORY, NEIGHBOURS, REFERENCE, REFERENCE_CLIENTS, Endpoint
from api.reference.parameters import MOST, USUAL_LIMIT
from journal.models import LABELS

Schema = dict[str, Any]

_NUMBER, _TEXT, _BOOLEAN, _INTEGER = ({"type": kind} for kind in ("number", "string", "boolean", "integer"))
_NUMBER_OR_NULL, _TEXT_OR_NULL = {"type": ["number", "null"]}, {"type": ["string", "null"]}
_LABEL = {"type": "string", "enum": [*LABELS]}
_DEFAULTED = {
    "type": ["boolean", "null"],
    "description": "Ce qu’il est advenu\u00a0: défaut ou non ; null si le portefeuille ne le dit pas.",
}

ANSWERS = {
    MODEL: "Model",
    MODEL_HISTORY: "ModelHistory",
    REFERENCE: "Reference",
    REFERENCE_CLIENTS: "ReferenceClients",
    NEIGHBOURS: "Neighbours",
}


def schemas(client: Schema) -> Schema:
    """`client`: the schema of a client as POST /predict takes it."""
    return {
        "Model": _model(),
        "ModelHistory": _history(),
        "Reference": _reference(),
        "ReferenceClients": _object(
            {"clients": _list_of(_object(_client(client))), "next": {"type": ["integer", "null"]}}
        ),
        "Neighbours": _neighbours(client),
    }


def parameters(path: Endpoint) -> list[Schema]:
    if path is not REFERENCE_CLIENTS:
        return []
    after = "Le numéro du dernier client de la page précédente\u00a0: son next."
    limit = f"De 1 à {MOST} clients\u00a0; {USUAL_LIMIT} sans ce paramètre."
    return [
        {"name": name, "in": "query", "description": meaning, "schema": {**_INTEGER, **bounds}}
        for name, meaning, bounds in (
            ("after", after, {"minimum": 0, "maximum": 999_999_999}),
            ("limit", limit, {"minimum": 1, "maximum": MOST}),
        )
    ]


def _model() -> Schema:
    policy = _object(
        {
            **dict.fromkeys(("optimal_threshold", "margin", "lower_bound", "upper_bound"), _NUMBER),
            "labels": _object(dict.fromkeys(LABELS, _TEXT)),
            "provenance": {"type": ["object", "null"], "description": "Comment la politique fut choisie."},
        }
    )
    feature = _object(
        {
            "name": _TEXT,
            **dict.fromkeys(("label", "meaning", "unit"), _TEXT_OR_NULL),
            "usual": {"type": ["array", "null"], "items": _NUMBER},
            "nullable": _BOOLEAN,
            "share_of_gain": {
                "type": ["number", "null"],
                "description": "Sa part du gain de toutes les divisions des arbres.",
            },
            "population": {
                "type": ["object", "null"],
                "description": "Les clients de l’apprentissage\u00a0: la part de ceux dont la valeur manque, "
                "et les quantiles de 0 à 100\u00a0% des autres.",
            },
        }
    )
    return _object(
        {
            "name": _TEXT,
            **dict.fromkeys(("version", "alias"), _TEXT_OR_NULL),
            "digest": _TEXT,
            "confirmed": _BOOLEAN,
            "source": {"type": ["object", "null"], "description": "Le fichier dont la version est faite."},
            "policy": policy,
            "explains": _BOOLEAN,
            "features": _list_of(feature),
        }
    )


def _history() -> Schema:
    champion = _object(
        {
            **dict.fromkeys(("version", "how"), _TEXT),
            **dict.fromkeys(("since", "until", "why", "overridden"), _TEXT_OR_NULL),
        }
    )
    examination = {
        "type": ["object", "null"],
        "description": "Le dernier examen\u00a0: les écarts au champion d’alors, et où MLflow le garde.",
        "properties": {
            **dict.fromkeys(("run", "experiment"), _TEXT),
            **dict.fromkeys(("compared_with", "outcome", "objections"), _TEXT_OR_NULL),
            "differences": {"type": "object", "additionalProperties": _NUMBER},
        },
    }
    return _object({"card": _TEXT_OR_NULL, "champions": _list_of(champion), "examination": examination})


def _reference() -> Schema:
    origin = _object(
        {
            **dict.fromkeys(("name", "sha256"), _TEXT),
            "origin": _TEXT_OR_NULL,
            "is_drawn": {"type": "boolean", "description": "Si ses clients n’existent pas."},
            "outcome": {"type": ["string", "null"], "description": "La colonne de ce qu’il est advenu."},
            "clients": _INTEGER,
            "left_out": {"type": "integer", "description": "Il leur manque une valeur nécessaire."},
            "of": _INTEGER,
        }
    )
    group = {"clients": _INTEGER, "defaults": _NUMBER_OR_NULL}
    return _object(
        {
            "reference": origin,
            "costs": _object({"false_negative": _NUMBER, "false_positive": _NUMBER}),
            "labels": _object(dict.fromkeys(LABELS, _object(group))),
            "histogram": _list_of(_object({"from": _NUMBER, **group})),
            "figures": {"type": ["object", "null"]},
            "calibration": _list_or_null(_object({"clients": _INTEGER, **_rates("predicted", "observed")})),
            "fairness": _list_or_null(_comparison()),
            "thresholds": _list_of(_threshold()),
            "now": {**_threshold(), "description": "Le seuil de la politique."},
            "features": _list_of(_feature_counts()),
        }
    )


def _rates(*names: str) -> Schema:
    return dict.fromkeys(names, _NUMBER)


def _comparison() -> Schema:
    interval = {"type": ["object", "null"], "properties": _rates("value", "low", "high")}
    group = _object(
        {
            "name": _TEXT,
            "clients": _INTEGER,
            "default_rate": interval,
            "mean_probability": _NUMBER,
            "approval_rate": interval,
            "equal_opportunity": {
                "type": ["number", "null"],
                "description": "La part de ceux qui remboursent à qui le crédit est accordé.",
            },
        }
    )
    return _object(
        {
            "attribute": _TEXT,
            "groups": _list_of(group),
            "approval_ratio": interval,
            "is_below_four_fifths": _BOOLEAN,
            "opportunity_gap": interval,
        }
    )


def _threshold() -> Schema:
    return _object(
        {
            **_rates("threshold", "lower_bound", "upper_bound"),
            **dict.fromkeys(LABELS, _INTEGER),
            "changed": {"type": "integer", "description": "Clients dont la décision serait une autre."},
            "cost_per_client": _NUMBER_OR_NULL,
            "defaults_of_reliable": _NUMBER_OR_NULL,
        }
    )


def _feature_counts() -> Schema:
    return _object(
        {
            "name": _TEXT,
            "edges": _list_of(_NUMBER),
            "clients": _object(dict.fromkeys(LABELS, _list_of(_INTEGER))),
            "unknown": _object(dict.fromkeys(LABELS, _INTEGER)),
        }
    )


def _client(client: Schema) -> Schema:
    features = {name: {"type": one["type"]} for name, one in client["properties"].items()}
    return {
        "number": _INTEGER,
        "label": _LABEL,
        "probability_class_1": _NUMBER,
        "defaulted": _DEFAULTED,
        "features": _object(features),
    }


def _neighbours(client: Schema) -> Schema:
    distance = {"type": "number", "description": "De 0, le même client, à 1."}
    percentile = {
        "type": ["object", "null"],
        "description": "La part des clients de l’apprentissage qui ont moins, et celle de ceux qui ont plus.",
        "properties": _rates("below", "above"),
    }
    return _object(
        {
            "neighbours": _list_of(_object({**_client(client), "distance": distance})),
            "percentiles": _object(dict.fromkeys(client["properties"], percentile)),
        }
    )


def _object(properties: Schema) -> Schema:
    return {"type": "object", "required": [*properties], "properties": properties}


def _list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _list_or_null(items: Schema) -> Schema:
    return {"type": ["array", "null"], "items": items}
