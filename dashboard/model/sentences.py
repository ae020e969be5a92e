"""Says in words what the API tells of a version: who it is, its policy, and how the service is."""

from collections.abc import Mapping
from typing import Any

from dashboard.labels import WORDS
from dashboard.markdown import escaped
from dashboard.numbers import counted, fixed, in_percent, in_thousands, write_french

_UNKNOWN_ORIGIN = "La version ne dit pas comment son seuil et sa marge ont été choisis."
_EXPECTED = (
    "Leurs défauts ne sont pas constatés, mais attendus\u00a0: chacun compte pour la probabilité avec "
    "laquelle il a été tiré."
)
_JOURNAL = {
    "writable": "Le journal inscrit chaque décision.",
    "unavailable": "Le journal ne répond pas\u00a0: aucune décision n’est rendue tant qu’il manque. Prévenez "
    "votre support.",
    "off": "Ce service ne tient pas de journal\u00a0: les décisions ne laissent aucun reçu.",
}


def identity(model: Mapping[str, Any]) -> str:
    version = f", version {escaped(model['version'])}" if model["version"] else ""
    alias = f" ({escaped(model['alias'])})" if model["alias"] else ""
    return f"**{escaped(model['name'])}**{version}{alias}, empreinte {escaped(model['digest'][:12])}."


def policy(told: Mapping[str, Any]) -> str:
    """`told`: the policy as /model tells it."""
    lower, upper = (in_percent(told[bound], 2) for bound in ("lower_bound", "upper_bound"))
    reliable, grey, risky = WORDS
    margin = write_french(round(100 * told["margin"], 2))
    points = "point" if told["margin"] < 0.02 else "points"
    return (
        f"La décision est «\u00a0**{reliable}**\u00a0» si la probabilité de défaut est sous {lower}, "
        f"«\u00a0**{risky}**\u00a0» si elle est au-dessus de {upper}, et «\u00a0**{grey}**\u00a0» entre les "
        f"deux, bornes comprises. Le seuil est "
        f"{in_percent(told['optimal_threshold'], 2)}, la marge {margin}\u00a0{points}."
    )


def origin(told: Mapping[str, Any]) -> str:
    """Where the policy is from, as far as it is known."""
    provenance = told["provenance"] or {}
    if provenance.get("chosen_by") == "operator":
        return "Ce seuil et cette marge ont été choisis par l’exploitant à l’enregistrement."
    cheapest = provenance.get("threshold_cheapest")
    if not isinstance(cheapest, Mapping):
        return _UNKNOWN_ORIGIN
    ends = [one for name in ("value", "low", "high") if isinstance(one := cheapest.get(name), float | int)]
    if len(ends) < 3:
        return _UNKNOWN_ORIGIN
    value, low, high = (in_percent(one, 2) for one in ends)
    return f"À l’entraînement, le seuil le moins cher était {value} (entre {low} et {high}, 19 fois sur 20)."


def changed(now: Mapping[str, Any], tried: Mapping[str, Any], everybody: int) -> str:
    if tried["threshold"] == now["threshold"]:
        return "Déplacez le seuil pour voir ce qu’un autre changerait."
    of_them, changed = in_thousands(everybody), tried["changed"]
    would = "aurait" if changed < 2 else "auraient"
    return f"**{counted(changed, 'client', 'clients')}** sur {of_them} {would} une autre décision."


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
    expected = f" {_EXPECTED}" if are_expected(told) else ""
    return kind + expected + (lacking if left else "")


def are_expected(told: Mapping[str, Any]) -> bool:
    """Whether nobody has seen the defaults of the reference clients."""
    return bool(told["outcome"] == "TRUE_PROBABILITY")


def figures(told: Mapping[str, float | None], *, are_expected: bool) -> str:
    """How well the version tells clients apart, and how far its probabilities are off."""
    auc, error = told["auc"], told["ece"]
    said = []
    if error is not None:
        seen = "attendu" if are_expected else "constaté"
        said.append(f"En moyenne, la prévision s’écarte du taux {seen} de {_points(error)}.")
    if auc is not None:
        said.append(
            "D’un client en défaut et d’un client qui rembourse, pris au hasard, la version donne la plus "
            f"forte probabilité au premier dans {in_percent(auc)} des cas (AUC)."
        )
    return " ".join(said)


def between(comparison: Mapping[str, Any]) -> str:
    """How far apart the groups of one attribute are."""
    ratio, gap = comparison["approval_ratio"], comparison["opportunity_gap"]
    if ratio is None or gap is None:
        return "Il n’y a pas deux groupes d’au moins 100 clients\u00a0: rien n’est comparé."
    low, value, high = (fixed(ratio[name], 2) for name in ("low", "value", "high"))
    lowest, highest = (fixed(100 * gap[name], 1) for name in ("low", "high"))
    return (
        f"Le plus faible taux d’accord, rapporté au plus fort\u00a0: {value} (entre {low} et {high}, 19 fois "
        f"sur 20). {_four_fifths(comparison)} Parmi les bons payeurs, les accords diffèrent de "
        f"{_points(gap['value'])} au plus (entre {lowest} et {highest})."
    )


def _four_fifths(comparison: Mapping[str, Any]) -> str:
    """Whether the rule holds, and whether the interval leaves it open."""
    low, high, rule = *(comparison["approval_ratio"][end] for end in ("low", "high")), 0.8
    kept, doubt = "est respectée", f"le bas de l’intervalle, {fixed(low, 2)}, est au-dessous"
    if comparison["is_below_four_fifths"]:
        kept, doubt = "n’est pas respectée", f"le haut de l’intervalle, {fixed(high, 2)}, l’atteint"
    is_open = low < rule <= high
    return f"La règle des quatre cinquièmes (au moins 0,8) {kept}{f', mais {doubt}' if is_open else ''}."


def _points(share: float) -> str:
    """A difference of two rates, in points of a hundred."""
    points = fixed(100 * share, 1)
    return f"{points}\u00a0{'point' if abs(100 * share) < 1.95 else 'points'}"


def journal(state: str) -> str:
    return _JOURNAL.get(state, "L’état du journal n’est pas connu.")
