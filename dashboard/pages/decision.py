"""The page « Décision »: takes one client's values, and shows the API's decision and its reasons."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard import shell
from dashboard.api_client import ApiError, ScoringApi
from dashboard.decision import fields
from dashboard.decision.answered import Answered
from dashboard.numbers import NotANumber

_ANSWERED, _REFERENCE = "decision answered", "decision reference"  # what the session keeps


def main() -> None:
    shell.title("Décision de crédit")
    try:
        _page(shell.api())
    except ApiError as error:
        shell.failure(error)


def _page(api: ScoringApi) -> None:
    """Raises ApiError."""
    specification, served = api.specification(), api.ready()
    version = f", version {served['version']}" if served["version"] else ""
    st.caption(f"Modèle {served['name']}{version}. Une case vide est une valeur inconnue.")
    schemas = specification["components"]["schemas"]
    features = schemas["Client"]["properties"]
    above = st.container()
    _ways_to_begin(features, schemas["Client"]["example"])
    texts = fields.show(features)
    if "/decisions" in specification["paths"]:
        st.text_input(
            "Référence du dossier (facultative)", key=_REFERENCE, max_chars=64, persist_state="session"
        )
    is_asked = st.button("Demander la décision", type="primary")
    with above:
        if is_asked:
            _decide(api, texts, schemas)
        answered: Answered | None = st.session_state.get(_ANSWERED)
        if answered is not None:
            answered.show(is_stale=answered.texts != texts)


def _ways_to_begin(features: fields.Features, example: Mapping[str, float]) -> None:
    new, filled, _ = st.columns([1, 1, 2])
    new.button("Nouveau client", on_click=_begin, args=[features, {}], width="stretch")
    filled.button("Exemple fictif", on_click=_begin, args=[features, example], width="stretch")


def _begin(features: fields.Features, client: Mapping[str, float]) -> None:
    st.session_state.pop(_ANSWERED, None)
    st.session_state[_REFERENCE] = ""
    fields.fill(features, client)


def _decide(api: ScoringApi, texts: fields.Texts, schemas: Mapping[str, Any]) -> None:
    """Keep what the API answers, or say why there is no answer: nothing that was typed is lost."""
    try:
        client = fields.read(texts, schemas["Client"]["properties"])
        decision, receipt = api.predict(client, st.session_state.get(_REFERENCE) or None)
    except NotANumber as error:
        st.warning(str(error))
        return
    except ApiError as error:
        st.error(str(error))
        return
    zone = schemas["Decision"]["properties"]["prediction"]["enum"].index(decision["prediction"])
    explanation, silence = _explained(api, client)
    st.session_state[_ANSWERED] = Answered(dict(texts), decision, zone, receipt, explanation, silence)


def _explained(api: ScoringApi, client: Mapping[str, float | None]) -> tuple[Mapping[str, Any] | None, str]:
    try:
        return api.explain(client), ""
    except ApiError as error:
        return None, str(error)


main()
