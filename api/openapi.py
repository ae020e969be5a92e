"""Describes the API as it is served now: the model's own features, what may be null, and its labels."""

from typing import Any

from mlflow_model.features import BY_NAME, example_client
from mlflow_model.scoring import OUTPUT_COLUMNS, Scorer

_ERRORS = {
    "400": "Features manquantes, JSON malformé, valeur refusée ou null refusé.",
    "401": "Jeton d’accès absent ou inconnu, là où le service en demande un.",
    "403": "Le rôle du jeton d’accès ne suffit pas.",
    "408": "La requête n’est pas arrivée entière en 10 s.",
    "413": "Corps de plus de 64 Kio.",
    "415": "Le type de contenu n’est pas application/json, ou le corps est compressé.",
    "500": "Erreur interne, avec une référence.",
    "503": "Aucun modèle n’est chargé, ou trop de corps arrivent à la fois (avec la raison et Retry-After).",
}
_BATCH_ERRORS = {
    "400": "Features manquantes, corps malformé, valeur refusée (avec ligne et feature) ou aucun client.",
    "413": "Corps de plus de 16 Mio, ou trop de clients.",
    "415": "Le type de contenu n’est pas l’un des trois, ou le corps est compressé.",
    "503": "Trop de lots en cours (avec Retry-After), ou aucun modèle n’est chargé.",
}
_MEANINGS = {
    "prediction": "La décision, en mots.",
    "probability_class_1": "Probabilité de défaut.",
    "probability_class_0": "1 − probabilité de défaut.",
    "optimal_threshold": "Seuil de décision de la politique.",
    "margin": "Marge autour du seuil.",
    "lower_bound": "Seuil − marge : en dessous, le client est fiable.",
    "upper_bound": "Seuil + marge : au-dessus, le client est risqué ; entre les deux, zone grise.",
}


def document(scorer: Scorer, version: str | None) -> dict[str, Any]:
    """The OpenAPI 3.1 document of one served model."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Scoring Client",
            "version": version or "0",
            "description": "Décision de crédit : fiable, risqué ou zone grise.",
        },
        "paths": {
            "/predict": {"post": _predict()},
            "/predict/batch": {"post": _predict_batch()},
            "/health": {"get": _get("Le processus est vivant.", "Vivant.")},
            "/ready": {
                "get": _get("Quel modèle est servi.", "Nom, version, alias et politique.", unavailable=True)
            },
            "/metrics": {"get": _metrics()},
            "/openapi.json": {"get": _get("Ce document.", "Document OpenAPI.", unavailable=True)},
        },
        "components": {
            "schemas": {"Client": _client(scorer), "Decision": _decision(scorer), "Error": _error()},
        },
    }


def _predict() -> dict[str, Any]:
    return {
        "summary": "Décider d’un client.",
        "operationId": "predict",
        "requestBody": {"required": True, "content": _json("Client")},
        "responses": {
            "200": {"description": "La décision.", "content": _json("Decision")},
            **{status: _failure(meaning) for status, meaning in _ERRORS.items()},
        },
    }


def _predict_batch() -> dict[str, Any]:
    """JSON in full; for CSV and Arrow what OpenAPI can say of a body that is not JSON."""
    text, stream = {"type": "string"}, {"type": "string", "format": "binary"}
    others = {"text/csv": {"schema": text}, "application/vnd.apache.arrow.stream": {"schema": stream}}
    return {
        "summary": "Décider de plusieurs clients : tous, ou aucun.",
        "operationId": "predictBatch",
        "description": "Tableau JSON ou CSV : 1 à 10 000 clients ; flux Arrow : 1 à 100 000 ; 16 Mio.",
        "requestBody": {"required": True, "content": {**_json_array("Client"), **others}},
        "responses": {
            "200": {
                "description": "Les décisions, dans l’ordre et le format de la requête.",
                "content": {**_json_array("Decision"), **others},
            },
            **{status: _failure(meaning) for status, meaning in (_ERRORS | _BATCH_ERRORS).items()},
        },
    }


def _get(summary: str, success: str, *, unavailable: bool = False) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object"}}}
    responses: dict[str, Any] = {"200": {"description": success, "content": content}}
    if unavailable:
        responses["503"] = _failure(_ERRORS["503"])
    return {"summary": summary, "responses": responses}


def _metrics() -> dict[str, Any]:
    text = {"text/plain": {"schema": {"type": "string"}}}
    refusals = {status: _failure(_ERRORS[status]) for status in ("401", "403")}
    return {
        "summary": "Ce que le service compte, pour Prometheus.",
        "responses": {
            "200": {"description": "Métriques de tous les processus.", "content": text},
            **refusals,
            "503": _failure("Le fichier d’un processus manque ; il est refait en quelques secondes."),
        },
    }


def _failure(meaning: str) -> dict[str, Any]:
    return {"description": meaning, "content": _json("Error")}


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _json_array(schema: str) -> dict[str, Any]:
    items = {"$ref": f"#/components/schemas/{schema}"}
    return {
        "application/json": {"schema": {"type": "array", "minItems": 1, "maxItems": 10_000, "items": items}}
    }


def _client(scorer: Scorer) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(scorer.features),
        "properties": {name: _feature(name, nullable=name in scorer.nullable) for name in scorer.features},
        "additionalProperties": True,
        "example": example_client(scorer.features),
    }


def _feature(name: str, *, nullable: bool) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": ["number", "null"] if nullable else "number"}
    known = BY_NAME.get(name)
    if known is None:
        return schema
    usual = {"x-unit": known.unit, "x-table": known.table, "x-formula": known.formula}
    return {
        **schema,
        "title": known.label,
        "description": known.meaning,
        **usual,
        "x-usual": [known.low, known.high],
    }


def _decision(scorer: Scorer) -> dict[str, Any]:
    policy = scorer.policy
    properties: dict[str, Any] = {
        name: {"type": "number", "description": _MEANINGS[name]} for name in OUTPUT_COLUMNS
    }
    properties["prediction"] = {
        "type": "string",
        "enum": [policy.reliable, policy.uncertain, policy.risky],
        "description": _MEANINGS["prediction"],
    }
    return {"type": "object", "required": list(OUTPUT_COLUMNS), "properties": properties}


def _error() -> dict[str, Any]:
    return {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
