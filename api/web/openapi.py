"""Describes the API as it is served now: the model's own features, what may be null, and its labels."""

from dataclasses import asdict
from typing import Any

from api.deciding.answer import DECISION_ID
from api.deciding.formats import kept_columns
from api.paths import (
    BATCH,
    DECISION,
    DECISIONS,
    EXPLAIN,
    METRICS,
    MODEL,
    MODEL_HISTORY,
    MOST_IN_ARROW,
    MOST_IN_TEXT,
    NEIGHBOURS,
    PAST_EXPLANATION,
    PATHS,
    PREDICT,
    REFERENCE,
    REFERENCE_CLIENTS,
    REVIEWED,
    Endpoint,
)
from api.web import explanation_schema, journal_schema, reference_schema
from features.catalogue import BY_NAME, TERM_LABELS, example_client, example_to_explain
from features.identities import IDENTITIES
from mlflow_model.bundle import bundles
from mlflow_model.bundle.scoring import Scorer
from mlflow_model.errors import written_bytes

_MEANINGS = {
    "prediction": "La décision, en mots.",
    "probability_class_1": "Probabilité de défaut.",
    "probability_class_0": "1 − probabilité de défaut.",
    "optimal_threshold": "Seuil de décision de la politique.",
    "margin": "Marge autour du seuil.",
    "lower_bound": "Seuil − marge : en dessous, le client est fiable.",
    "upper_bound": "Seuil + marge : au-dessus, le client est risqué ; entre les deux, zone grise.",
}


def document(
    scorer: Scorer, version: str | None, *, asks_for_tokens: bool = False, has_journal: bool = False
) -> dict[str, Any]:
    """The OpenAPI 3.1 document of one served model.

    `asks_for_tokens`: whether the service answers some paths to known tokens only. `has_journal`: whether it
    knows past decisions.
    """
    client = _client(scorer)
    shown = [one for one in PATHS if one.answers and (has_journal or not one.asks_the_journal)]
    described = {one: _operation(one, has_journal=has_journal) for one in shown}
    described[EXPLAIN]["requestBody"]["content"]["application/json"]["example"] = example_to_explain(
        scorer.features
    )
    secured = [one for one in described if one.roles is not None and asks_for_tokens]
    for one in secured:
        described[one]["security"] = [{"token": []}]
    schemes = {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}} if secured else {}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Scoring Client",
            "version": version or "0",
            "description": "Décision de crédit : fiable, risqué ou zone grise.",
        },
        "paths": {_template(one): {one.method.lower(): its} for one, its in described.items()},
        "components": {
            "schemas": {
                "Client": client,
                "Decision": _decision(scorer),
                "Explanation": explanation_schema.schema(),
                "Error": _error(),
                **reference_schema.schemas(client),
                **(journal_schema.schemas() if has_journal else {}),
            },
            **schemes,
        },
    }


def _operation(path: Endpoint, *, has_journal: bool) -> dict[str, Any]:
    (done, meaning), *others = path.answers.items()
    success = {"description": meaning, "content": _content(path, _ANSWERS.get(path, "Decision"))}
    operation: dict[str, Any] = {"summary": path.summary, **_MORE.get(path, {})}
    if has_journal and path is PREDICT:
        operation["parameters"] = [_CLIENT_REFERENCE]
        success["headers"] = {DECISION_ID: _DECISION_ID}
    if has_journal and path is BATCH:
        operation["parameters"] = [*operation["parameters"], _IDS]
    if path.asks_the_journal:
        operation["parameters"] = journal_schema.parameters(path)
    if parameters := reference_schema.parameters(path):
        operation["parameters"] = parameters
    if path.body_limit:
        asked = journal_schema.BODIES.get(path, "Client")
        operation["requestBody"] = {"required": True, "content": _content(path, asked)}
    operation["responses"] = {done: success, **{status: _failure(meaning) for status, meaning in others}}
    return operation


_ANSWERS = {
    **dict.fromkeys((EXPLAIN, PAST_EXPLANATION), "Explanation"),
    **journal_schema.ANSWERS,
    **reference_schema.ANSWERS,
}


def _template(path: Endpoint) -> str:
    """The path as OpenAPI writes it."""
    return path.path.replace("<", "{").replace(">", "}")


def _french(number: int) -> str:
    return f"{number:,}".replace(",", "\u202f")


_IDS = {
    "name": "ids",
    "in": "query",
    "description": "1\u00a0: rendre aussi la colonne decision_id, les numéros des reçus.",
    "schema": {"type": "string", "enum": ["1"]},
}
_CLIENT_REFERENCE = {
    "name": "X-Client-Reference",
    "in": "header",
    "description": "La référence que l’appelant donne au client, gardée avec le reçu\u00a0; une seule, "
    "de 1 à 64 caractères ASCII imprimables.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[ -~]{1,64}$"},
}
_DECISION_ID = {
    "description": "Le numéro du reçu de la décision.",
    "required": True,
    "schema": {"type": "string", "format": "uuid"},
}

_MORE: dict[Endpoint, dict[str, Any]] = {
    PREDICT: {"operationId": "predict"},
    DECISIONS: {"operationId": "decisions"},
    DECISION: {"operationId": "decision"},
    PAST_EXPLANATION: {
        "operationId": "pastExplanation",
        "description": "Le revenu est déduit de son rapport à l’échéance\u00a0: le reçu ne le garde pas. Les "
        "prêts proposés sont ceux que la banque vend aujourd’hui.",
    },
    REVIEWED: {"operationId": "review"},
    MODEL: {"operationId": "model"},
    MODEL_HISTORY: {
        "operationId": "modelHistory",
        "description": "champions\u00a0: les versions que l’alias a nommées, de la première à la dernière. "
        "Une version servie depuis un fichier n’a pas d’historique. La réponse est gardée une minute.",
    },
    REFERENCE: {
        "operationId": "reference",
        "description": "Les coûts sont ceux de la politique. thresholds dit ce que chaque seuil changerait, "
        "avec la même marge. En dehors des bornes de edges, un client compte dans la première ou la dernière "
        "classe.",
    },
    REFERENCE_CLIENTS: {"operationId": "referenceClients"},
    NEIGHBOURS: {
        "operationId": "neighbours",
        "description": "Prend ce que prend /predict. Rien n’est décidé ni enregistré. La distance est la "
        "moyenne, sur les variables, de l’écart des rangs parmi les clients de l’apprentissage\u00a0; une "
        "valeur inconnue est loin d’une valeur connue.",
    },
    EXPLAIN: {
        "operationId": "explain",
        "description": "Prend ce que prend /predict. Rien n’est décidé ni enregistré\u00a0: la décision est "
        "celle que /predict rendrait. Les contributions (valeurs de Shapley) et base_log_odds se somment en "
        "log_odds\u00a0; points les rapporte à la probabilité. Le revenu (AMT_INCOME_TOTAL) peut être joint "
        "au corps\u00a0; sinon il est déduit de son rapport à l’échéance.",
    },
    BATCH: {
        "operationId": "predictBatch",
        "description": f"Tableau JSON ou CSV\u00a0: 1 à {_french(MOST_IN_TEXT)} clients\u00a0; "
        f"flux Arrow\u00a0: 1 à {_french(MOST_IN_ARROW)}\u00a0; {written_bytes(BATCH.body_limit)}.",
        "parameters": [
            {
                "name": "keep",
                "in": "query",
                "description": "Une colonne du corps à rendre telle quelle, devant celles de la décision. "
                "Le paramètre se répète.",
                "schema": {"type": "array", "maxItems": kept_columns.MOST, "items": {"type": "string"}},
            },
        ],
    },
}


def _content(path: Endpoint, schema: str) -> dict[str, Any]:
    """JSON in full; for CSV and Arrow what OpenAPI can say of a body that is not JSON."""
    text, stream = {"type": "string"}, {"type": "string", "format": "binary"}
    if path in (PREDICT, *_ANSWERS):
        return _json(schema)
    if path is BATCH:
        others = {"text/csv": {"schema": text}, "application/vnd.apache.arrow.stream": {"schema": stream}}
        return {**_json_array(schema), **others}
    if path is METRICS:
        return {"text/plain": {"schema": text}}
    return {"application/json": {"schema": {"type": "object"}}}


def _failure(meaning: str) -> dict[str, Any]:
    return {"description": meaning, "content": _json("Error")}


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _json_array(schema: str) -> dict[str, Any]:
    items = {"$ref": f"#/components/schemas/{schema}"}
    return {
        "application/json": {
            "schema": {"type": "array", "minItems": 1, "maxItems": MOST_IN_TEXT, "items": items}
        }
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
        "x-usual": list(known.usual),
        **({"x-ratio": _ratio(name)} if name in IDENTITIES else {}),
    }


def _ratio(name: str) -> dict[str, Any]:
    """What a client program needs to compute the feature, and to ask a person for what it is made of."""
    terms = asdict(IDENTITIES[name])
    columns = (terms["numerator"], terms["denominator"])
    labels = {one: BY_NAME[one].label if one in BY_NAME else TERM_LABELS[one] for one in columns}
    return {**terms, "labels": labels}


def _decision(scorer: Scorer) -> dict[str, Any]:
    policy = scorer.policy
    columns = bundles.columns(scorer)
    properties: dict[str, Any] = {
        name: {"type": "number"} | ({"description": _MEANINGS[name]} if name in _MEANINGS else {})
        for name in columns
    }
    properties["prediction"] = {
        "type": "string",
        "enum": [policy.reliable, policy.uncertain, policy.risky],
        "description": _MEANINGS["prediction"],
    }
    return {"type": "object", "required": columns, "properties": properties}


def _error() -> dict[str, Any]:
    return {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
