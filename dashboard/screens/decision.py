"""The page « Décision »: one client's values, the API's decision, its reasons, and what would change it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import streamlit as st

from dashboard import labels, shell
from dashboard.api_client import ApiError
from dashboard.decision import entry
from dashboard.decision.document import document
from dashboard.decision.fields import Client, asked
from dashboard.decision.levers import levers
from dashboard.drawing import scale
from dashboard.numbers import in_percent
from dashboard.waterfall import told, waterfall

_DESCRIBED, _ANSWER = "decision description", "decision answer"  # what the session keeps
_REFERENCE = "decision reference"
_STYLE = (
    "<style>.st-key-decision{position:sticky;top:3.75rem;z-index:9;padding:.5rem 1rem;border-radius:.5rem;"
    "border:1px solid #8888;background:light-dark(#fff,#0e1117);background:var(--background-color,Canvas)}"
    ".st-key-decision-old{opacity:.55}@media(max-height:500px){.st-key-decision{position:static}}</style>"
)


def main() -> None:
    shell.title("Décision")
    st.html(_STYLE)
    described = _described()
    if described is None:
        return
    fields = asked(described["Client"])
    entry.restore(fields)
    _start(described["Client"])
    place = st.container(key="decision")
    values, reasons, other_loan, paper = st.tabs(["Valeurs", "Raisons", "Autre prêt", "Pour le client"])
    answer: dict[str, Any] | None = st.session_state.get(_ANSWER)
    with values:
        client = entry.entry(described["Client"], _warnings(answer))
        entry.keep(fields)
    with place:
        answer = _decided(client, answer, described)
    if answer is None:
        for tab in (reasons, other_loan, paper):
            tab.write("Demandez d’abord la décision.")
        return
    with reasons:
        _reasons(answer, described)
    with other_loan:
        levers(answer["client"], described)
        _offers(answer, described)
    with paper:
        _paper(answer, described)


def _described() -> dict[str, Any] | None:
    """The API's schemas. Those of before while it does not answer, so that nothing typed is lost."""
    try:
        st.session_state[_DESCRIBED] = shell.api().specification()["components"]["schemas"]
    except ApiError as error:
        if _DESCRIBED not in st.session_state:
            shell.failure(error)
    except KeyError:
        st.error("L’adresse de l’API est celle d’un autre service\u00a0: prévenez votre support.")
    return st.session_state.get(_DESCRIBED)


def _start(schema: Mapping[str, Any]) -> None:
    fields = asked(schema)
    with st.container(horizontal=True):
        st.button("Nouveau client", on_click=_cleared, args=(fields,))
        st.button("Remplir avec l’exemple", on_click=entry.fill, args=(fields, entry.example(schema)))


def _cleared(fields: list[Any]) -> None:
    entry.fill(fields, None)
    st.session_state.pop(_ANSWER, None)
    st.session_state[_REFERENCE] = ""


def _decided(
    client: Client | None, answer: dict[str, Any] | None, described: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Ask for a decision where the officer does, and show the last one."""
    reference, button = st.columns([2, 1], vertical_alignment="bottom")
    named = reference.text_input("Référence du client (facultative)", key=_REFERENCE, max_chars=64)
    asks = button.button("Demander la décision", type="primary", disabled=client is None, width="stretch")
    if asks and client is not None:
        try:
            decision, receipt = shell.api().decide(client, named)
        except ApiError as error:
            shell.failure(error)
        else:
            answer = {"client": client, "decision": decision, "receipt": receipt, **_explained(client)}
            st.session_state[_ANSWER] = answer
            st.rerun()  # the warnings belong to fields that are shown already
    if answer is None:
        st.caption("Remplissez tous les champs, ou cochez «\u00a0inconnu\u00a0».")
        return None
    is_old = client != answer["client"]
    with st.container(key="decision-old" if is_old else "decision-now"):
        _shown(answer, described, is_old=is_old)
    return answer


def _explained(client: Client) -> dict[str, Any]:
    """The explanation, or the sentence why there is none: the decision stands without it."""
    try:
        return {"explanation": shell.api().explain(client), "unexplained": None}
    except ApiError as error:
        return {"explanation": None, "unexplained": str(error)}


def _shown(answer: Mapping[str, Any], described: Mapping[str, Any], *, is_old: bool) -> None:
    decision, zone = answer["decision"], _zone(answer["decision"]["prediction"], described)
    name, share = labels.NAMES[zone], in_percent(decision["probability_class_1"], 2)
    old = " — valeurs modifiées" if is_old else ""
    st.markdown(f"## {name}{old}")
    receipt = f" Reçu\u00a0: {answer['receipt']}." if answer["receipt"] else ""
    st.markdown(f"Probabilité de défaut\u00a0: {share}.{receipt}")
    bounds = [in_percent(decision[key], 2) for key in ("lower_bound", "upper_bound")]
    st.image(
        scale(decision, zone, labels.SHAPES[zone]),
        width="stretch",
        alt=f"{name}\u00a0: probabilité de défaut {share}, zone grise de {bounds[0]} à {bounds[1]}",
    )


def _zone(prediction: str, described: Mapping[str, Any]) -> int:
    return int(described["Decision"]["properties"]["prediction"]["enum"].index(prediction))


def _warnings(answer: Mapping[str, Any] | None) -> dict[str, list[str]]:
    """The API's sentences about the last client, by feature."""
    found: dict[str, list[str]] = {}
    for one in ((answer or {}).get("explanation") or {"warnings": []})["warnings"]:
        found.setdefault(one["feature"] or "", []).append(one["sentence"])
    return found


def _reasons(answer: Mapping[str, Any], described: Mapping[str, Any]) -> None:
    explanation = answer["explanation"]
    if explanation is None:
        st.caption(answer["unexplained"])
        return
    for sentence in _warnings(answer).get("", ()):
        st.warning(sentence)
    _listed("Ce qui parle pour le crédit", [one["sentence"] for one in explanation["reasons"]["for"]])
    _listed("Ce qui parle contre lui", [one["sentence"] for one in explanation["reasons"]["against"]])
    st.markdown("### Ce que chaque valeur ajoute")
    features = described["Client"]["properties"]
    steps = [
        (features[one["feature"]].get("title", one["feature"]), one["points"])
        for one in explanation["contributions"]
    ]
    end = explanation["decision"]["probability_class_1"]
    drawn = steps, end - sum(points for _, points in steps), end
    st.image(waterfall(*drawn), width="stretch", alt=told(*drawn))


def _listed(title: str, sentences: list[str]) -> None:
    if sentences:
        st.markdown(f"### {title}")
        st.markdown("\n".join(f"- {sentence}" for sentence in sentences))


def _offers(answer: Mapping[str, Any], described: Mapping[str, Any]) -> None:
    if answer["explanation"] is None:
        return
    offers = answer["explanation"]["offers"]
    st.markdown("### Ce qui changerait la décision")
    st.write(_said(offers["sentence"], described))
    for one in [*offers["found"], *([offers["worse"]] if offers["worse"] else [])]:
        with st.container(border=True):
            st.markdown(f"**{labels.NAMES[_zone(one['prediction'], described)]}**")
            st.write(_said(one["sentence"], described))


def _said(sentence: str, described: Mapping[str, Any]) -> str:
    """The API's sentence with the officer's words for the three labels."""
    names = described["Decision"]["properties"]["prediction"]["enum"]
    for name, word in zip(names, labels.WORDS, strict=True):
        sentence = sentence.replace(name, word)
    return sentence


def _paper(answer: Mapping[str, Any], described: Mapping[str, Any]) -> None:
    explanation = answer["explanation"] or {"reasons": {"for": [], "against": []}, "offers": {"found": []}}
    parts = [
        ("Ce qui parle pour votre demande", [one["sentence"] for one in explanation["reasons"]["for"]]),
        ("Ce qui parle contre elle", [one["sentence"] for one in explanation["reasons"]["against"]]),
        (
            "Ce qui changerait le résultat",
            [_said(one["sentence"], described) for one in explanation["offers"]["found"]],
        ),
    ]
    word = labels.WORDS[_zone(answer["decision"]["prediction"], described)]
    written = document(word, f"{datetime.now().astimezone():%d/%m/%Y}", answer["receipt"], parts)
    st.write(
        "Une page à imprimer ou à envoyer\u00a0: le résultat, ses raisons, le reçu et les droits du client."
    )
    st.download_button("Télécharger le document", written, "decision.html", "text/html")


main()
