"""The page « Décision »: one client's values, the API's decision, its reasons, and what would change it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import streamlit as st

from dashboard import labels, shell, svg
from dashboard.api_client import ApiError, zone
from dashboard.decision import demonstration, entry
from dashboard.decision.among_others import among_others
from dashboard.decision.explaining import explained
from dashboard.decision.fields import Client, Field, asked
from dashboard.decision.levers import levers
from dashboard.decision.offers import cards
from dashboard.decision.paper import paper
from dashboard.drawing import scale
from dashboard.markdown import escaped
from dashboard.numbers import counted, in_percent
from dashboard.waterfall import told, waterfall

# What the session keeps.
_DESCRIBED, _ANSWER = "decision description", "decision answer"
_ASKED, _FRESH = "decision asked", "decision fresh"
_ASK = "Demander la décision"
_EXAMPLE = "exemple"  # what the journal calls it
_DRAWN = 660  # pixels, where there is room
_PERHAPS_DECIDED = (
    "Cette demande est peut-être déjà au journal, s’il y en a un\u00a0: la répéter y laisse un second reçu."
)
_TABS = ("Valeurs", "Raisons", "Parmi les autres", "Autre prêt", "Pour le client")
_STYLE = (
    "<style>.st-key-decision{padding:.5rem 1rem;border-radius:.5rem;border:1px solid #8888;"
    f"background:light-dark({svg.GROUND[0]},{svg.GROUND[1]})}}"
    ".st-key-decision-old{opacity:.55}"
    # Streamlit wraps the container in a box of its own height: only that box can stay while the page moves.
    "@media screen and (min-width:900px) and (min-height:600px){"
    "div:has(>.st-key-decision){position:sticky;top:3.25rem;z-index:9}"
    # Or what has the focus may lie behind the decision.
    "[data-testid=stMain]{scroll-padding-top:20rem}}</style>"
)


def main() -> None:
    shell.title("Décision")
    st.html(_STYLE)
    schemas = _schemas()
    if schemas is None:
        return
    fields = asked(schemas["Client"])
    entry.restore(fields)
    _start(schemas["Client"])
    place = st.container(key="decision")
    values, *others = st.tabs([*_TABS])
    answer: dict[str, Any] | None = st.session_state.get(_ANSWER)
    with values:
        client = entry.entry(schemas["Client"], _warnings(answer))
        entry.keep(fields)
        # Who has typed the last value by keyboard need not go back over all of them.
        st.button(_ASK, key="ask below", type="primary", disabled=client is None, on_click=_ask)
    with place:
        answer = _decided(client, answer, schemas)
    if answer is None:
        for tab in others:
            tab.write("Demandez d’abord la décision.")
    else:
        _about(answer, others)


def _about(answer: Mapping[str, Any], tabs: Sequence[Any]) -> None:
    """What the tabs beside the values say. All of it is in the words of the version that decided."""
    reasons, others, other_loan, for_client = tabs
    client, explanation, schemas = answer["client"], answer["explanation"], answer["schemas"]
    with reasons:
        _reasons(answer)
    with others:
        among_others(client, explanation, answer["digest"])
    with other_loan:
        if explanation is not None:
            cards(explanation["offers"], client, schemas, lambda sentence: _said(sentence, schemas))
        levers(client, schemas, answer["digest"])
    with for_client:
        paper(answer, lambda sentence, words: _said(sentence, schemas, words))


def _schemas() -> dict[str, Any] | None:
    """The API's. Those of before while it does not answer, so that nothing typed is lost."""
    try:
        st.session_state[_DESCRIBED] = shell.api().specification()["components"]["schemas"]
    except ApiError as error:
        if _DESCRIBED not in st.session_state:
            shell.failure(error)
    return st.session_state.get(_DESCRIBED)


def _start(schema: Mapping[str, Any]) -> None:
    fields = asked(schema)
    with st.container(horizontal=True):
        st.button("Nouveau client", on_click=_cleared, args=(fields,))
        st.button(
            "Remplir avec l’exemple", on_click=entry.fill, args=(fields, entry.example(schema), _EXAMPLE)
        )
        demonstration.choice(fields, schema)


def _cleared(fields: list[Field]) -> None:
    entry.clear(fields)
    st.session_state.pop(_ANSWER, None)


def _decided(
    client: Client | None, answer: dict[str, Any] | None, schemas: dict[str, Any]
) -> dict[str, Any] | None:
    """Ask for a decision where the officer does, and show the last one."""
    reference, button = st.columns([2, 1], vertical_alignment="bottom")
    named = reference.text_input("Référence du client (facultative)", key=entry.REFERENCE, max_chars=64)
    asks = button.button(_ASK, type="primary", disabled=client is None, width="stretch")
    asks |= st.session_state.pop(_ASKED, False)
    if client is not None and asks:
        try:
            st.session_state[_ANSWER] = _asked(client, named, schemas)
        except ApiError as error:
            shell.failure(error, "decision", _ask)
            if error.may_have_acted:
                st.caption(_PERHAPS_DECIDED)
        else:
            st.session_state[_FRESH] = True
            st.rerun()  # the warnings belong to fields that are shown already
    if answer is None:
        st.caption(escaped(entry.still_to_do()) if client is None else "Demandez la décision.")
        return None
    is_old = client != answer["client"]
    with st.container(key="decision-old" if is_old else "decision-now"):
        _shown(answer, is_old=is_old)
    if st.session_state.pop(_FRESH, False):
        shell.focus_on(".st-key-decision h2", str(time.time_ns()))
    return answer


def _ask() -> None:
    st.session_state[_ASKED] = True


def _asked(client: Client, named: str, schemas: dict[str, Any]) -> dict[str, Any]:
    """All that the page shows of a decision, in the words of the version that took it. Raises ApiError."""
    decided = shell.api().decide(client, named)
    prediction = decided.decision["prediction"]
    if prediction not in schemas["Decision"]["properties"]["prediction"]["enum"]:
        schemas = shell.api().specification()["components"]["schemas"]  # a promotion, just now
    return {
        "client": client,
        "reference": named.strip(),
        "is_fictitious": entry.is_fictitious(),
        **asdict(decided),
        "schemas": schemas,
        "zone": zone(prediction, schemas),
        **_explained(client, schemas, decided.digest),
    }


def _explained(client: Client, schemas: Mapping[str, Any], digest: str | None) -> dict[str, Any]:
    """The explanation, or why there is none: the decision stands without it."""
    try:
        return {"explanation": explained(client, schemas, digest), "unexplained": None}
    except ApiError as error:
        return {"explanation": None, "unexplained": error}


def _explain_again() -> None:
    answer = st.session_state[_ANSWER]
    answer.update(_explained(answer["client"], answer["schemas"], answer["digest"]))


def _shown(answer: Mapping[str, Any], *, is_old: bool) -> None:
    decision, place = answer["decision"], answer["zone"]
    name, share = labels.NAMES[place], in_percent(decision["probability_class_1"], 2)
    old = " — valeurs modifiées" if is_old else ""
    words, drawing = st.columns([2, 3])
    words.markdown(f"## {name}{old}")
    words.markdown(f"Probabilité de défaut\u00a0: {share}.")
    if answer["receipt"]:
        words.caption(f"Reçu\u00a0: {escaped(answer['receipt'])}")  # alone, so that it is easy to copy
    bounds = [in_percent(decision[key], 2) for key in ("lower_bound", "upper_bound")]
    drawing.image(
        scale(decision, place, labels.SHAPES[place]),
        width=_DRAWN,
        alt=f"{name}\u00a0: probabilité de défaut {share}, zone grise de {bounds[0]} à {bounds[1]}",
    )
    if warnings := sum(map(len, _warnings(answer).values())):
        said = counted(warnings, "avertissement", "avertissements")
        st.warning(f"{said}\u00a0: lisez l’onglet «\u00a0Raisons\u00a0» avant de vous y fier.")


def _warnings(answer: Mapping[str, Any] | None) -> dict[str, list[str]]:
    """The API's sentences about the last client, by feature."""
    found: dict[str, list[str]] = {}
    for one in ((answer or {}).get("explanation") or {"warnings": []})["warnings"]:
        found.setdefault(one["feature"] or "", []).append(one["sentence"])
    return found


def _reasons(answer: Mapping[str, Any]) -> None:
    explanation = answer["explanation"]
    if explanation is None:
        shell.absence(answer["unexplained"], "reasons", _explain_again)
        return
    for one in explanation["warnings"]:
        st.warning(escaped(one["sentence"]))
    _listed("Pour le crédit", [one["sentence"] for one in explanation["reasons"]["for"]])
    _listed("Contre le crédit", [one["sentence"] for one in explanation["reasons"]["against"]])
    st.markdown("### Ce que chaque valeur ajoute")
    st.caption("Une raison compte ensemble les valeurs d’un groupe\u00a0; le dessin les montre une à une.")
    features = answer["schemas"]["Client"]["properties"]
    steps = [
        (features.get(one["feature"], {}).get("title", one["feature"]), one["points"])
        for one in explanation["contributions"]
    ]
    end = explanation["decision"]["probability_class_1"]
    drawn = steps, end - sum(points for _, points in steps), end
    st.image(waterfall(*drawn), width=_DRAWN, alt=told(*drawn))


def _listed(title: str, sentences: list[str]) -> None:
    if sentences:
        st.markdown(f"### {title}")
        st.markdown("\n".join(f"- {escaped(sentence)}" for sentence in sentences))


def _said(sentence: str, schemas: Mapping[str, Any], words: tuple[str, ...] = labels.WORDS) -> str:
    """The API's sentence with the officer's words for the three labels, or others."""
    names = schemas["Decision"]["properties"]["prediction"]["enum"]
    for name, word in zip(names, words, strict=True):
        sentence = sentence.replace(name, word)
    return sentence


main()
