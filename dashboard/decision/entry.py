"""The form of the page « Décision »: what is typed stays with the session, whatever the API does."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import streamlit as st

from dashboard.decision.fields import Client, Field, asked, completed, quotient
from dashboard.markdown import escaped
from dashboard.numbers import NotANumber
from dashboard.values import shown, span

REFERENCE = "decision reference"
_KEPT = "decision typed"  # what the session keeps when another page is shown
_EXACT = "decision exact"  # by field: what was filled in, as it is written and to the last digit
_FICTITIOUS = "decision fictitious"
_LACKING = "decision lacking"  # the labels of the fields that hold nothing that can be sent
_MOST_NAMED = 3
_TABLES = {
    "application": "La demande",
    "bureau": "Les crédits dans d’autres banques",
    "installments_payments": "Les remboursements passés",
    "POS_CASH_balance": "Les crédits à la consommation passés",
    "previous_application": "Les demandes passées",
}


def text_key(name: str) -> str:
    return f"typed {name}"


def unknown_key(name: str) -> str:
    return f"unknown {name}"


def restore(fields: Sequence[Field]) -> None:
    """Give the widgets what was typed before another page was shown."""
    kept = st.session_state.get(_KEPT, {})
    for key in _keys(fields):
        if key in kept:
            st.session_state.setdefault(key, kept[key])


def keep(fields: Sequence[Field]) -> None:
    st.session_state[_KEPT] = {key: st.session_state[key] for key in _keys(fields) if key in st.session_state}


def _keys(fields: Sequence[Field]) -> list[str]:
    return [REFERENCE, *(key(field.name) for field in fields for key in (text_key, unknown_key))]


def fill(fields: Sequence[Field], client: Mapping[str, float | None], reference: str) -> None:
    """Put a client who does not exist into the widgets. A callback: it runs before they are shown.

    `reference`: what the journal calls this client, so that nobody takes the receipt for a real one's.
    """
    for field in fields:
        value = client.get(field.name)
        st.session_state[text_key(field.name)] = field.written(value)
        st.session_state[unknown_key(field.name)] = value is None
    st.session_state[_EXACT] = {
        field.name: (field.written(one), one) for field, one in _known(fields, client)
    }
    st.session_state[REFERENCE], st.session_state[_FICTITIOUS] = reference, True


def _known(fields: Sequence[Field], client: Mapping[str, float | None]) -> Iterator[tuple[Field, float]]:
    for field in fields:
        value = client.get(field.name)
        if value is not None:
            yield field, value


def clear(fields: Sequence[Field]) -> None:
    """A callback, as `fill`."""
    for field in fields:
        st.session_state[text_key(field.name)], st.session_state[unknown_key(field.name)] = "", False
    st.session_state[_EXACT] = {}
    st.session_state[REFERENCE], st.session_state[_FICTITIOUS] = "", False


def is_fictitious() -> bool:
    """Whether the client has been filled in, and not been typed."""
    return bool(st.session_state.get(_FICTITIOUS))


def example(schema: Mapping[str, Any]) -> Client:
    """The documented client."""
    return with_terms(schema["example"], schema)


def with_terms(features: Mapping[str, float | None], schema: Mapping[str, Any]) -> Client:
    """A client of the model's features, with what a person is asked for instead, such as the income that a
    ratio implies."""
    client = dict(features)
    for name, feature in schema["properties"].items():
        ratio = feature.get("x-ratio")
        above, part = (client.get(ratio["numerator"]), client.get(name)) if ratio else (None, None)
        if ratio and ratio["denominator"] not in client and above and part:
            client[ratio["denominator"]] = _implied(ratio, above, part)
    return client


def _implied(ratio: Mapping[str, Any], above: float, part: float) -> float:
    """The roundest denominator that gives this ratio."""
    for decimals in range(-6, 2):
        below = round(above / part, decimals)
        if below and quotient(ratio, {ratio["numerator"]: above, ratio["denominator"]: below}) == part:
            return below
    return round(above / part, 2)


def entry(schema: Mapping[str, Any], warnings: Mapping[str, Sequence[str]]) -> Client | None:
    """The fields, and the client in them; None where something cannot be sent, which is said at its field.

    `warnings`: the API's sentences about the last client, by feature.
    """
    fields = asked(schema)
    if is_fictitious():
        st.info(
            "Client fictif\u00a0: il n’existe pas. Pour saisir un vrai client, «\u00a0Nouveau client\u00a0»."
        )
    groups: dict[str, list[Field]] = {}
    for field in fields:
        groups.setdefault(field.table, []).append(field)
    typed: Client = {}
    lacking = st.session_state[_LACKING] = list[str]()
    for table, members in groups.items():
        st.markdown(f"### {_TABLES.get(table, 'Autres valeurs')}")
        for start in range(0, len(members), 2):
            for column, field in zip(st.columns(2), members[start : start + 2], strict=False):
                with column:
                    read, typed[field.name] = _asked(field, warnings.get(field.name, ()))
                if not read:
                    lacking.append(field.label)
    return None if lacking else _followed(typed, schema, warnings)


def _asked(field: Field, warnings: Sequence[str]) -> tuple[bool, float | None]:
    """Whether there is something to send, and what."""
    st.session_state.setdefault(text_key(field.name), "")
    unknown = field.may_be_unknown and st.session_state.get(unknown_key(field.name), False)
    text = st.text_input(
        escaped(field.title),
        key=text_key(field.name),
        help=escaped(f"{field.meaning} ({field.name})".strip()),
        placeholder="inconnu" if unknown else "à remplir",
        disabled=unknown,
    )
    if field.may_be_unknown:
        st.checkbox(
            "inconnu",
            key=unknown_key(field.name),
            help=escaped(f"«\u00a0{field.label}\u00a0» n’est pas connu."),
        )
    if field.usual:
        st.caption(escaped(f"D’ordinaire de {span(field.usual, field.unit)}"))
    for sentence in warnings:
        st.warning(escaped(sentence))
    return (True, None) if unknown else _read(field, text)


def still_to_do() -> str:
    """What keeps the client from being sent, of the fields that were shown last."""
    lacking = st.session_state.get(_LACKING, [])
    if len(lacking) > _MOST_NAMED:
        return "Remplissez tous les champs, ou cochez «\u00a0inconnu\u00a0»."
    if not lacking:
        return "Corrigez ce que l’onglet «\u00a0Valeurs\u00a0» signale."
    named = ", ".join(f"«\u00a0{label}\u00a0»" for label in lacking)
    return f"À remplir ou à corriger\u00a0: {named}."


def _read(field: Field, text: str) -> tuple[bool, float | None]:
    written, exact = st.session_state.get(_EXACT, {}).get(field.name, (None, None))
    if text == written:
        return True, exact
    try:
        value = field.read(text, datetime.now().astimezone().date())
    except NotANumber as error:
        st.warning(escaped(str(error)))
        return False, None
    return value is not None, value


def _followed(
    typed: Client, schema: Mapping[str, Any], warnings: Mapping[str, Sequence[str]]
) -> Client | None:
    """Show the ratios that follow from what is typed."""
    try:
        client = completed(typed, schema)
    except NotANumber as error:
        st.warning(escaped(str(error)))
        return None
    st.markdown("### Ce qui s’en déduit")
    for name, feature in schema["properties"].items():
        if "x-ratio" in feature:
            label, unit = feature.get("title", name), feature.get("x-unit", "")
            st.markdown(escaped(f"{label}\u00a0: {shown(client[name], unit)}"))
            for sentence in warnings.get(name, ()):
                st.warning(escaped(sentence))
    return client
