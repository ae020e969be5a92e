"""Finds a client who does not exist, for whoever wants to see a decision without typing one."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from dashboard import labels, shell
from dashboard.api_client import ApiError
from dashboard.decision import entry
from dashboard.decision.fields import Field

_NUMBER, _SAID = "demonstration number", "demonstration said"  # what the session keeps
_OPEN = "demonstration open"
_PAGE = 500


def choice(fields: Sequence[Field], schema: Mapping[str, Any]) -> None:
    """A client by the number, or the next one of a label."""
    with st.popover("Client fictif", key=_OPEN, on_change="rerun"):
        st.caption("Ces clients sont tirés au sort\u00a0: aucun n’existe.")
        st.session_state.setdefault(_NUMBER, 1)
        st.number_input("Numéro du client fictif", min_value=1, step=1, key=_NUMBER)
        st.button("Prendre ce client", on_click=_take, args=(fields, schema, None))
        for name, key in zip(labels.NAMES, labels.KEYS, strict=True):
            st.button(f"Le suivant\u00a0: {name}", on_click=_take, args=(fields, schema, key))
    if said := st.session_state.pop(_SAID, None):
        st.info(said)


def _take(fields: Sequence[Field], schema: Mapping[str, Any], label: str | None) -> None:
    """A callback: it runs before the fields are shown."""
    number = int(st.session_state[_NUMBER])
    try:
        found = _found(number - 1 if label is None else number, label)
    except ApiError as error:
        st.session_state[_SAID] = str(error)
        return
    if found is None or (label is None and found["number"] != number):
        wanted = f"numéro {number}" if label is None else "suivant de cette sorte"
        st.session_state[_SAID] = f"Il n’y a pas de client fictif {wanted}."
        return
    st.session_state[_NUMBER] = found["number"]
    st.session_state[_OPEN] = False
    entry.fill(fields, entry.with_terms(found["features"], schema), f"client fictif {found['number']}")


def _found(after: int, label: str | None) -> dict[str, Any] | None:
    """The first client behind a number, of a label if one is wanted. Raises ApiError."""
    place: int | None = after
    while place is not None:
        page = shell.api().reference_clients(place, 1 if label is None else _PAGE)
        for one in page["clients"]:
            if label in (None, one["label"]):
                return dict(one)
        place = page["next"]
    return None
