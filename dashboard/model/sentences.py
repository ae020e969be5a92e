"""Says in words what the API tells of a version: who it is, its policy, and how the service is."""

from collections.abc import Mapping
from typing import Any

from dashboard.labels import WORDS
from dashboard.markdown import escaped
from dashboard.numbers import counted, fixed, in_percent, write_french

_JOURNAL = {
    "writable": "Le journal inscrit chaque décision.",
    "unavailable": "Le journal ne répond pas\u00a0: aucune décision n’est rendue tant qu’il manque. Prévenez "
    "votre support.",
    "off": "Ce service ne tient pas de journal\u00a0: les décisions ne laissent aucun reçu.",
}


def identity(model: Mapping[str, Any]) -> str:
    version = f", version {model['version']}" if model["version"] else ""
    alias = f" ({escaped(model['alias'])})" if model["alias"] else ""
    return f"**{escaped(model['name'])}**{version}{alias}, empreinte {model['digest'][:12]}."


def policy(told: Mapping[str, Any]) -> str:
    """`told`: the policy as /model tells it."""
    lower, upper = (in_percent(told[bound], 2) for bound in ("lower_bound", "upper_bound"))
    reliable, grey, risky = WORDS
    margin = write_french(round(100 * told["margin"], 2))
    points = "point" if told["margin"] < 0.02 else "points"
    return (
        f"Une demande est **{reliable}** si sa probabilité de défaut est sous {lower}, **{risky}** si elle "
        f"est au-dessus de {upper}, et **{grey}** entre les deux, bornes comprises. Le seuil est "
        f"{in_percent(told['optimal_threshold'], 2)}, la marge {margin}\u00a0{points}."
    )


def origin(told: Mapping[str, Any]) -> str:
    """Where the policy is from, as far as it is known."""
    provenance = told["provenance"] or {}
    if provenance.get("chosen_by") == "operator":
        return "Ce seuil et cette marge ont été choisis par l’exploitant à l’enregistrement."
    cheapest = provenance.get("threshold_cheapest")
    if not isinstance(cheapest, Mapping):
        return "La version ne dit pas comment son seuil et sa marge ont été choisis."
    value, low, high = (in_percent(float(cheapest[name]), 2) for name in ("value", "low", "high"))
    return f"À l’entraînement, le seuil le moins cher était {value} (entre {low} et {high}, 19 fois sur 20)."


def costs(told: Mapping[str, float]) -> str:
    """Of the two mistakes."""
    ratio = told["false_negative"] / told["false_positive"]
    as_text = fixed(ratio, 0 if ratio == round(ratio) else 1)
    return (
        f"Un crédit accordé qui finit en défaut coûte autant que {as_text} refus de clients qui auraient "
        "remboursé."
    )


def reference(told: Mapping[str, Any]) -> str:
    """Whose totals these are."""
    clients = counted(told["clients"], "client", "clients")
    kind = (
        f"{clients} de référence, tirés au sort\u00a0: aucun n’existe."
        if told["is_drawn"]
        else f"{clients} de référence, dans le fichier {escaped(told['name'])}."
    )
    left = told["left_out"]
    lacking = f" {counted(left, 'autre est laissé', 'autres sont laissés')} de côté, faute d’une valeur."
    expected = " Leurs défauts sont ceux qui sont attendus." if told["outcome"] == "TRUE_PROBABILITY" else ""
    return kind + expected + (lacking if left else "")


def journal(state: str) -> str:
    return _JOURNAL.get(state, "L’état du journal n’est pas connu.")
