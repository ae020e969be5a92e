"""What every page shares: the client of this session, the only h1, and how a failure is shown."""

import os

import streamlit as st

from dashboard.api_client import ApiError, ScoringApi

TOKEN = "session token"  # noqa: S105 - the name under which the session keeps it


def api() -> ScoringApi:
    token = st.session_state.get(TOKEN) or os.environ.get("API_TOKEN")
    return ScoringApi(os.environ.get("API_URL", "http://127.0.0.1:5000"), token)


def ask_for_token() -> None:
    """A token of this session alone: it is in no file, no address and no log."""
    with st.sidebar, st.expander("Jeton d’accès", icon=":material/key:"):
        st.text_input(
            "Jeton de cette session",
            type="password",
            key=TOKEN,
            autocomplete="off",
            persist_state="session",
            help="Laissez vide si l’API n’en demande pas. Il est oublié avec la session.",
        )


def speak_french() -> None:
    """Streamlit declares its page to be English, and a screen reader would read French so."""
    st.html("<script>document.documentElement.lang = 'fr'</script>", unsafe_allow_javascript=True)


def title(text: str) -> None:
    st.title(text, anchor=False)


def failure(error: ApiError) -> None:
    """Say what to do next. Nothing that was typed is lost."""
    st.error(str(error))
    st.button("Réessayer")
