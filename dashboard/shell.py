"""What every page shares: the client of this session, the only h1, and how a failure is shown."""

import os
from collections.abc import Callable

import streamlit as st

from dashboard import french
from dashboard.api_client import ApiError, Failure, ScoringApi
from dashboard.markdown import escaped

_FAINT = (
    "[data-testid=stCaptionContainer]",
    "[data-testid=stMetricLabel]",
    "[data-testid=stSliderThumbValue]",
    "[data-testid=stSliderTickBar]",
    "[data-variant=segmented_control]",
)
_ROOM = "[data-testid=stMainBlockContainer]{padding-top:4rem;padding-bottom:3rem}"  # Streamlit leaves more
_TELEPHONE = (
    "@media(max-width:640px){[data-testid=stMarkdownContainer] :is(th,td){padding:4px 6px;font-size:.9rem}}"
)
_OF_A_SCREEN = (
    "[data-testid=stSidebar]",
    "[data-testid=stHeader]",
    "[data-testid=stFileUploader]",
    "[data-testid=stElementToolbar]",
    "[data-testid=stTabs] [role=tablist]",
    "[data-testid=stForm]",
    ".stButton",
    ".stDownloadButton",
    ".stPopover",
)
_PRINT = (
    f"@media print{{{','.join(_OF_A_SCREEN)}{{display:none!important}}"
    "[data-testid=stMainBlockContainer]{padding:0!important}"
    "img,tr,li{break-inside:avoid}:is(h1,h2,h3,h4){break-after:avoid}}"
)
_CLEAR = "".join(f"{one},{one} *{{color:inherit!important;opacity:1}}" for one in _FAINT)
_STYLE = _ROOM + _CLEAR + _TELEPHONE + _PRINT
TOKEN = "session token"  # noqa: S105 - the name under which the session keeps it
_TYPED = "token typed"

_NEXT = {
    Failure.ABSENT: "Vérifiez que le service est démarré, ou prévenez votre support, puis réessayez.",
    Failure.SLOW: "Réessayez dans un instant.",
    Failure.UNAVAILABLE: "Patientez un instant, puis réessayez.",
    Failure.UNAUTHORIZED: "Saisissez un jeton d’accès dans le volet de gauche, puis réessayez.",
    Failure.FORBIDDEN: "Saisissez dans le volet de gauche un jeton qui a ce droit, ou demandez-le à votre "
    "responsable.",
    Failure.OTHER_SERVICE: "Un autre service est-il à cette adresse\u00a0? Prévenez votre support.",
}


def api(digest: str | None = None) -> ScoringApi:
    """The client of this session. `digest`: of the only version that is asked."""
    token = st.session_state.get(TOKEN) or os.environ.get("API_TOKEN")
    return ScoringApi(os.environ.get("API_URL", "http://127.0.0.1:5000"), token, digest)


def token_field() -> None:
    """A token that the session alone keeps, from page to page."""
    st.text_input(
        "Jeton d’accès",
        type="password",
        value=st.session_state.get(TOKEN, ""),
        key=_TYPED,
        on_change=_keep_token,
        help="Gardé le temps de cette session seulement. Laissez vide si le service n’en demande pas.",
    )


def _keep_token() -> None:
    st.session_state[TOKEN] = st.session_state[_TYPED].strip()


def make_readable() -> None:
    """Streamlit declares its page to be English, and a screen reader would read French so. Some of its texts
    are fainter than 4.5 to 1 before their ground."""
    st.html(french.script(), unsafe_allow_javascript=True)
    st.html(f"<style>{_STYLE}</style>")


def focus_on(selector: str, occasion: str) -> None:
    """Put whoever works by keyboard or hears the page where something has happened.

    `occasion`: where it is another one, the focus moves once more.
    """
    st.html(
        f"<script>/* {occasion} */"
        f"const there = document.querySelector('{selector}');"
        "if (there) {there.tabIndex = -1; there.focus();}</script>",
        unsafe_allow_javascript=True,
    )


def title(text: str) -> None:
    st.title(text, anchor=False)


def failure(error: ApiError, place: str = "", again: Callable[[], None] | None = None) -> None:
    """Say what to do next. Nothing that was typed is lost.

    `place`: where on the page, if a page can fail in several. `again`: what asks once more, if showing the
    page does not.
    """
    st.error(" ".join([escaped(str(error)), *([_NEXT[error.failure]] if error.failure in _NEXT else [])]))
    st.button("Réessayer", key=f"again {place}", on_click=again)


def absence(error: ApiError, place: str, again: Callable[[], None] | None = None) -> None:
    """Say why a part of a page is not there; as a failure where it may be there later."""
    if error.may_pass:
        failure(error, place, again)
    else:
        st.info(escaped(str(error)))
