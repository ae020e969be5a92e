"""The tab « Pour le client »: a document for the client's hands, to download."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import streamlit as st

from dashboard.decision.document import WORDS, Document, Request, document
from dashboard.decision.document_html import as_html
from dashboard.numbers import counted
from dashboard.values import AMOUNT, shown

_NOTHING: Mapping[str, Any] = {"reasons": {"for": [], "against": []}, "offers": {"found": []}, "warnings": []}


def paper(answer: Mapping[str, Any], said: Callable[[str, tuple[str, ...]], str]) -> None:
    """`said`: a sentence of the API with these words for the three labels."""
    explanation = answer["explanation"] or _NOTHING
    if warnings := len(explanation["warnings"]):
        said_of = counted(warnings, "avertissement concerne", "avertissements concernent")
        st.warning(f"{said_of} cette décision\u00a0: vérifiez les valeurs avant de remettre ce document.")
    parts = [
        ("Ce qui parle pour votre demande", [one["sentence"] for one in explanation["reasons"]["for"]]),
        ("Ce qui parle contre elle", [one["sentence"] for one in explanation["reasons"]["against"]]),
        (
            "Ce qui changerait le résultat",
            [said(one["sentence"], WORDS) for one in explanation["offers"]["found"]],
        ),
    ]
    request = Request(
        f"{datetime.now().astimezone():%d/%m/%Y}",
        shown(answer["client"].get("AMT_CREDIT"), AMOUNT),
        answer["reference"] or None,
        answer["receipt"],
        answer["is_fictitious"],
    )
    written = document(answer["zone"], request, parts)
    st.write(
        "Une page à imprimer ou à envoyer\u00a0: le résultat, ses raisons, le reçu et les droits du client."
    )
    with st.container(horizontal=True):
        st.download_button(
            "Télécharger en PDF",
            lambda: _pdf(written),
            "decision.pdf",
            "application/pdf",
            on_click="ignore",
        )
        st.download_button(
            "Télécharger en HTML", as_html(written), "decision.html", "text/html", on_click="ignore"
        )


def _pdf(written: Document) -> bytes:
    from dashboard.decision.document_pdf import as_pdf  # half a second, for those who want it

    return as_pdf(written)
