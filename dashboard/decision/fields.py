"""The fields of one client: what is typed, what it is called, and the numbers that it stands for."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard.numbers import NotANumber, read_french, write_french
from dashboard.values import shown

_TABLES = {
    "application": "La demande",
    "bureau": "Les crédits dans d’autres banques",
    "installments_payments": "Les remboursements passés",
    "POS_CASH_balance": "Les crédits à la consommation passés",
    "previous_application": "Les demandes passées",
}
_IN_A_ROW = 3

Features = Mapping[str, Mapping[str, Any]]
Texts = Mapping[str, str]


def show(features: Features) -> dict[str, str]:
    """One field for each feature of the served model, by the table from which it comes. What is typed."""
    groups: dict[str, list[str]] = {}
    for name, feature in features.items():
        groups.setdefault(feature.get("x-table", ""), []).append(name)
    texts = {}
    for table, names in groups.items():
        st.subheader(_TABLES.get(table, table or "Autres valeurs"), anchor=False)
        for start in range(0, len(names), _IN_A_ROW):  # by rows, so that the tab key follows the eye
            columns = st.columns(_IN_A_ROW)
            for column, name in zip(columns, names[start : start + _IN_A_ROW], strict=False):
                with column:
                    texts[name] = _field(name, features[name])
    return texts


def fill(features: Features, client: Mapping[str, float]) -> None:
    """Put a client's values into the fields; nothing where there is none."""
    for name in features:
        value = client.get(name)
        st.session_state[name] = "" if value is None else write_french(value)


def read(texts: Texts, features: Features) -> dict[str, float | None]:
    """The numbers to send. An empty field is null if the model admits that. Raises NotANumber."""
    client: dict[str, float | None] = {}
    for name, text in texts.items():
        label = features[name].get("title", name)
        client[name] = read_french(text, label)
        if client[name] is None and not _admits_null(features[name]):
            raise NotANumber(f"«\u00a0{label}\u00a0»\u00a0: une valeur est nécessaire.")
    return client


def _field(name: str, feature: Mapping[str, Any]) -> str:
    """A text field, because a number field would round what is typed."""
    unit = f" ({feature['x-unit']})" if "x-unit" in feature else ""
    return st.text_input(
        feature.get("title", name) + unit,
        help=_help(name, feature),
        key=name,
        placeholder="inconnu" if _admits_null(feature) else "à remplir",
        persist_state="session",
    )


def _help(name: str, feature: Mapping[str, Any]) -> str:
    empty = (
        "Laissez vide si la valeur est inconnue." if _admits_null(feature) else "Une valeur est nécessaire."
    )
    usual = ""
    if "x-usual" in feature:
        low, high = (shown(bound) for bound in feature["x-usual"])
        usual = f"Le plus souvent de {low} à {high}."
    return " ".join(filter(None, (feature.get("description", ""), usual, empty, f"({name})")))


def _admits_null(feature: Mapping[str, Any]) -> bool:
    return "null" in feature["type"]
