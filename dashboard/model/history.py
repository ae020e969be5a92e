"""What the registry says of the served version, in words: the champions, the last examination, the card."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from dashboard import labels
from dashboard.markdown import escaped
from dashboard.model.tables import table
from dashboard.moments import day
from dashboard.numbers import in_percent, signed

MOST_OF_CARD = 30_000  # characters; a page with more is slow to appear
_HEADING = re.compile(r"^([ \t>*+-]*(?:[0-9]+[.)][ \t]+)?)#{1,6}(?=[ \t]|$)", re.MULTILINE)
_UNDERLINE = re.compile(r"^([ \t>]*)(=+|-+)[ \t]*$", re.MULTILINE)  # makes a heading of the line above

_HOW = {
    "registration": "enregistrement",
    "promotion": "promotion",
    "rollback": "retour à cette version",
    "moved elsewhere": "hors de ce projet",
}
_OUTCOMES = {
    "promoted": "Elle a été promue.",
    "forced": "Elle a été promue malgré des objections.",
    "refused": "Elle a été refusée.",
}
# What MLflow calls each difference, by how much it is multiplied, with how many decimals, and its unit.
_DIFFERENCES = {
    "approved": (labels.NAMES[0], 100, 1, " point"),
    "grey": (labels.NAMES[1], 100, 1, " point"),
    "refused": (labels.NAMES[2], 100, 1, " point"),
    "cost_per_client": ("Coût de 100 clients", 100, 2, ""),
    "calibration_error_ECE": ("Erreur de calibrage", 100, 1, " point"),
    "AUC": ("AUC", 1, 4, ""),
}


def champions(terms: Sequence[Mapping[str, Any]]) -> str:
    """The newest first."""
    head = ["Version", "Période", "Comment"]  # few columns: a telephone is narrow
    return table(head, [_term(one) for one in reversed(terms)], numbers=False)


def _term(one: Mapping[str, Any]) -> list[str]:
    since = "?" if one["since"] is None else day(one["since"])
    until = "aujourd’hui" if one["until"] is None else day(one["until"])
    how = _HOW.get(one["how"], "autrement")
    if one["overridden"]:
        how += ", malgré des objections"
    if one["why"]:
        how += f"\u00a0: {escaped(' '.join(one['why'].split()))}"
    return [escaped(one["version"]), f"{since} – {until}", how]


def examination(told: Mapping[str, Any]) -> str:
    """What the version would change of the champion's decisions, and what became of it."""
    than = f"la version {escaped(told['compared_with'])}" if told["compared_with"] else "aucun champion"
    said = [f"La version servie a été comparée avec {than} sur des clients de référence."]
    changed = told["differences"].get("changed")
    if changed is not None:
        said.append(f"La décision est une autre pour {in_percent(changed)} d’entre eux.")
    said.append(_OUTCOMES.get(told["outcome"], ""))
    return " ".join(said).strip()


def differences(told: Mapping[str, Any]) -> str | None:
    """A table of them; None if there is none that has a name here."""
    found = told["differences"]
    rows = [
        [name.replace(" ", "\u00a0"), _difference(times * found[key], decimals, unit)]
        for key, (name, times, decimals, unit) in _DIFFERENCES.items()
        if key in found
    ]
    return table(["", "Écart au champion d’alors"], rows) if rows else None


def _difference(value: float, decimals: int, unit: str) -> str:
    plural = "s" if unit and abs(round(value, decimals)) >= 2 else ""
    return signed(value, decimals) + unit.replace(" ", "\u00a0") + plural


def card(text: str) -> str:
    """The beginning of the card, below the page's own headings, with no picture of another address."""
    shown = text if len(text) <= MOST_OF_CARD else text[:MOST_OF_CARD].rpartition("\n")[0]
    shown = _HEADING.sub(r"\1####", shown)
    return _UNDERLINE.sub(r"\1\\\2", shown).replace("![", "\\![").replace("$", "\\$")
