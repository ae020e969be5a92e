"""What every page shares: the client of this session, the only h1, and how a failure is shown."""

import os

import streamlit as st

from dashboard.api_client import ApiError, ScoringApi

TOKEN = "session token"  # noqa: S105 - the name under which the session keeps it


def api() -> ScoringApi:
    token = st.session_state.get(TOKEN) or os.environ.get("API_TOKEN")
    return ScoringApi(os.environ.get("API_URL", "http://127.0.0.1:5000"), token)


def title(text: str) -> None:
    st.title(text)


def failure(error: ApiError) -> None:
    """Say what to do next. Nothing that was typed is lost."""
    st.error(str(error))
    st.button("Réessayer")
