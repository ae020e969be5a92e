"""What POST /explain answers, for the OpenAPI document."""

from typing import Any

from explain import guard_rails

Schema = dict[str, Any]

_NUMBER, _TEXT = {"type": "number"}, {"type": "string"}


def schema() -> Schema:
    return _object(
        {
            "decision": {"$ref": "#/components/schemas/Decision"},
            "base_log_odds": _NUMBER,
            "log_odds": _NUMBER,
            "contributions": _list_of(_contribution()),
            "reasons": _reasons(),
            "warnings": _list_of(_warning()),
            "offers": _offers(),
        }
    )


def _contribution() -> Schema:
    return _object(
        {
            "feature": _TEXT,
            "value": {"type": ["number", "null"], "description": "Celle du client."},
            "log_odds": {"type": "number", "description": "Ce que la variable ajoute aux log-cotes."},
            "points": {"type": "number", "description": "Sa part de la probabilité de défaut."},
        }
    )


def _reasons() -> Schema:
    points = "Ce que le groupe ajoute à la probabilité de défaut."
    reason = _object(
        {
            "group": {"type": "string", "description": "Le groupe de variables liées."},
            "feature": {"type": "string", "description": "Celle qui y pèse le plus."},
            "points": {"type": "number", "description": points},
            "sentence": _TEXT,
        }
    )
    return _object(
        {
            "for": {**_list_of(reason), "description": "Ce qui parle pour le crédit."},
            "against": {**_list_of(reason), "description": "Ce qui parle contre lui."},
        }
    )


def _warning() -> Schema:
    return _object(
        {
            "code": {"type": "string", "enum": [*guard_rails.CODES]},
            "feature": {"type": ["string", "null"]},
            "sentence": _TEXT,
        }
    )


def _offers() -> Schema:
    sentence = "Ce qui a été trouvé, ou pourquoi rien ne l’a été."
    worse = "Pour un client fiable, le changement défavorable le plus proche."
    return _object(
        {
            "sentence": {"type": "string", "description": sentence},
            "found": {**_list_of(_offer()), "description": "Jusqu’à trois, la moins coûteuse d’abord."},
            "worse": {**_offer(), "type": ["object", "null"], "description": worse},
            "searched": _list_of(_searched()),
        }
    )


def _offer() -> Schema:
    prediction = "La décision que /predict rendrait pour ce client."
    return _object(
        {
            "change": _from_to_by_column(),
            "sentence": _TEXT,
            "client": {"$ref": "#/components/schemas/Client"},
            "prediction": {"type": "string", "description": prediction},
        }
    )


def _searched() -> Schema:
    extreme = "La probabilité la plus basse qu’ils atteignent (la plus haute pour un client fiable), et où."
    return _object(
        {
            "levers": {"type": "array", "items": _TEXT},
            "digits": {"type": "integer", "description": "Chiffres significatifs des montants."},
            "ranges": _from_to_by_column(),
            "examined": {"type": "integer", "description": "Combien de changements ont été examinés."},
            "possible": {"type": "integer", "description": "Combien d’entre eux sont des prêts possibles."},
            "extreme": {"type": ["object", "null"], "description": extreme},
        }
    )


def _from_to_by_column() -> Schema:
    return {"type": "object", "additionalProperties": _object({"from": _NUMBER, "to": _NUMBER})}


def _object(properties: Schema) -> Schema:
    return {"type": "object", "required": [*properties], "properties": properties}


def _list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}
