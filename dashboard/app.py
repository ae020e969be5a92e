"""The loan officer's page: takes one client's values, shows the API's decision in words, colour and shape."""

import os
import sys
from pathlib import Path
from typing import Any

import streamlit as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # Streamlit does not put the root on the path

from dashboard.api_client import ApiError, ScoringApi
from dashboard.drawing import scale
from dashboard.numbers import NotANumber, read_french, write_french

_LOOKS = ((st.success, "●"), (st.warning, "◆"), (st.error, "▲"))  # reliable, grey zone, risky
_TABLES = {
    "application": "La demande",
    "bureau": "Les crédits dans d’autres banques",
    "installments_payments": "Les remboursements passés",
    "POS_CASH_balance": "Les crédits à la consommation passés",
    "previous_application": "Les demandes passées",
}


def main() -> None:
    st.set_page_config(page_title="Scoring Client", page_icon="◆", layout="wide")
    st.title("Décision de crédit")
    api = ScoringApi(os.environ.get("API_URL", "http://127.0.0.1:5000"), os.environ.get("API_TOKEN"))
    try:
        _page(api)
    except ApiError as error:
        st.error(str(error))
        st.button("Réessayer")


def _page(api: ScoringApi) -> None:
    specification, served = api.specification(), api.ready()
    version = f", version {served['version']}" if served["version"] else ""
    st.caption(f"Modèle {served['name']}{version}. Une case vide est une valeur inconnue.")
    schemas = specification["components"]["schemas"]
    with st.form("client", border=False):
        texts = _inputs(schemas["Client"])
        sent = st.form_submit_button("Demander la décision", type="primary")
    if sent:
        _answer(api, texts, schemas)


def _inputs(schema: dict[str, Any]) -> dict[str, str]:
    """One field per feature of the served model, grouped by the table from which the feature comes."""
    groups: dict[str, list[str]] = {}
    for name, feature in schema["properties"].items():
        groups.setdefault(feature.get("x-table", ""), []).append(name)
    texts = {}
    for table, names in groups.items():
        st.markdown(f"#### {_TABLES.get(table, table or 'Autres valeurs')}")
        columns = st.columns(3)
        for place, name in enumerate(names):
            with columns[place % 3]:
                texts[name] = _field(name, schema["properties"][name], schema["example"].get(name))
    return texts


def _field(name: str, feature: dict[str, Any], example: float | None) -> str:
    """A text field, because a number field would round what is typed."""
    return st.text_input(
        _label(name, feature),
        value="" if example is None else write_french(example),
        help=_help(name, feature),
        key=name,
        placeholder="inconnu" if _admits_null(feature) else "à remplir",
    )


def _admits_null(feature: dict[str, Any]) -> bool:
    return "null" in feature["type"]


def _label(name: str, feature: dict[str, Any]) -> str:
    unit = f" ({feature['x-unit']})" if "x-unit" in feature else ""
    return feature.get("title", name) + unit


def _help(name: str, feature: dict[str, Any]) -> str:
    empty = (
        "Laissez vide si la valeur est inconnue." if _admits_null(feature) else "Une valeur est nécessaire."
    )
    return f"{feature.get('description', '')} {empty} ({name})".strip()


def _answer(api: ScoringApi, texts: dict[str, str], schemas: dict[str, Any]) -> None:
    try:
        client = _read(texts, schemas["Client"]["properties"])
    except NotANumber as error:
        st.warning(str(error))
        return
    decision = api.predict(client)
    zone = schemas["Decision"]["properties"]["prediction"]["enum"].index(decision["prediction"])
    box, shape = _LOOKS[zone]
    box(f"### {shape} {decision['prediction']}")
    st.image(scale(decision, zone, shape))
    _explain(api, client)


def _explain(api: ScoringApi, client: dict[str, float | None]) -> None:
    """Show why, what somebody should look at, and what would change the decision, which stands without it."""
    try:
        found = api.explain(client)
    except ApiError as error:
        st.caption(str(error))
        return
    reasons, offers = found["reasons"], found["offers"]
    _listed("À vérifier", [one["sentence"] for one in found["warnings"]])
    _listed("Ce qui parle pour le crédit", [one["sentence"] for one in reasons["for"]])
    _listed("Ce qui parle contre lui", [one["sentence"] for one in reasons["against"]])
    changes = [one["sentence"] for one in [*offers["found"], offers["worse"]] if one]
    _listed("Ce qui changerait la décision", [offers["sentence"], *changes])


def _listed(title: str, sentences: list[str]) -> None:
    if sentences:
        st.markdown(f"#### {title}")
        st.markdown("\n".join(f"- {sentence}" for sentence in sentences))


def _read(texts: dict[str, str], features: dict[str, Any]) -> dict[str, float | None]:
    """The numbers to send. An empty field is null if the model admits that. Raises NotANumber."""
    client: dict[str, float | None] = {}
    for name, text in texts.items():
        label = features[name].get("title", name)
        client[name] = read_french(text, label)
        if client[name] is None and not _admits_null(features[name]):
            raise NotANumber(f"« {label} » : une valeur est nécessaire.")
    return client


if __name__ == "__main__":
    main()
