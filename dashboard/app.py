"""The entry of the loan officer's dashboard: its pages, the token of the session, and nothing else."""

import sys
from pathlib import Path

import streamlit as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # Streamlit does not put the root on the path

from dashboard import shell

_PAGES = {"decision": "Décision", "portfolio": "Portefeuille", "review": "Revue", "model": "Modèle"}


def main() -> None:
    st.set_page_config(page_title="Scoring Client", page_icon="◆", layout="wide")
    shell.speak_french()
    pages = [
        st.Page(f"screens/{name}.py", title=title, url_path=name, default=name == "decision")
        for name, title in _PAGES.items()
    ]
    chosen = st.navigation(pages)
    with st.sidebar:
        shell.token_field()
    chosen.run()


main()
