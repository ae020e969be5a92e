"""The page « Revue »: a person decides where the model does not, and what people have decided so far."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from dashboard import labels, shell, values
from dashboard.api_client import ApiError
from dashboard.drawing import scale
from dashboard.markdown import escaped
from dashboard.moments import moment
from dashboard.numbers import counted, in_percent, in_thousands
from dashboard.review import record
from dashboard.review.queue import Case, Queue

_QUEUE, _REASONS, _WHO = "review queue", "review reasons", "review who"  # what the session keeps
_PROBLEMS = "review problems"  # by the field that they stand at, or of the whole form
_CASE = "review-case"
_VIEWS = _WAITING, _DONE = ("Dossiers à examiner", "Revues faites")
_GREY = 1
_OUTCOMES = {"accept": "accordé", "refuse": "refusé"}
_MOST_REASONS = 5
_NOT_WRITTEN = "Rien n’est inscrit\u00a0: le motif est gardé, vous pouvez recommencer."
_PERHAPS_WRITTEN = (
    "La revue est peut-être inscrite. Le motif est gardé\u00a0: recommencez, et le journal est lu avant que "
    "rien n’y soit ajouté."
)
_DRAWN = 620  # pixels, where there is room


def main() -> None:
    shell.title("Revue")
    try:
        _page(shell.api().specification())
    except ApiError as error:
        shell.failure(error)


def _page(specification: dict[str, Any]) -> None:
    """Raises ApiError."""
    if "/decisions" not in specification["paths"]:
        st.info("Ce service ne tient pas de journal : il n’y a aucun dossier à revoir.")
        return
    view = st.segmented_control(
        "Affichage", _VIEWS, default=_WAITING, required=True, label_visibility="collapsed"
    )
    if view == _DONE:
        _record()
        return
    has_tokens = "securitySchemes" in specification["components"]
    _next_case(specification["components"]["schemas"]["Client"]["properties"], has_tokens=has_tokens)


# ---- The queue


def _next_case(features: Mapping[str, Any], *, has_tokens: bool) -> None:
    queue: Queue = st.session_state.setdefault(_QUEUE, Queue())
    case = queue.case(shell.api())
    if queue.told:
        st.info(escaped(queue.told))
    if case is None:
        st.success(f"Aucun dossier à examiner. {_done(queue)}")
        st.button("Actualiser", on_click=_start_again)
        return
    st.caption(f"{queue.waiting} à examiner, du plus ancien au plus récent. {_done(queue)}")
    with st.container(key=_CASE):
        _case(case)
    reasons, form = st.columns([3, 2])
    with reasons:
        _reasons(case)
    with form:
        _form(has_tokens=has_tokens)
    _values(case.receipt["inputs"] or {}, features)
    if queue.told:
        # At the next case, and not behind the last one's form.
        shell.focus_on(f".st-key-{_CASE} h3", re.sub(r"[^0-9a-f-]", "", case.receipt["id"]))


def _done(queue: Queue) -> str:
    return f"{counted(queue.done, 'dossier revu', 'dossiers revus')} dans cette session."


def _start_again() -> None:
    del st.session_state[_QUEUE]


def _case(case: Case) -> None:
    receipt = case.receipt
    reference = receipt["client_reference"]
    named = f"Référence\u00a0: {escaped(reference)}" if reference else "Dossier sans référence"
    st.subheader(named, anchor=False)
    version = receipt["model_version"]
    by = f", version {escaped(version)} du modèle" if version else ""
    st.caption(f"Décision du {moment(receipt['time'])}{by}. Reçu {escaped(receipt['id'])}.")
    st.image(scale(receipt["decision"], _GREY, labels.SHAPES[_GREY]), width=_DRAWN, alt=_told(receipt))


def _told(receipt: Mapping[str, Any]) -> str:
    """The scale for who does not see it."""
    names = ("probability_class_1", "lower_bound", "upper_bound")
    probability, lower, upper = (in_percent(receipt["decision"][name], 2) for name in names)
    return f"Probabilité de défaut de {probability} ; zone grise de {lower} à {upper}."


def _reasons(case: Case) -> None:
    if case.explanation is None:
        st.warning(f"Les raisons manquent. {escaped(case.silence)}")
        return
    _listed("À vérifier", case.explanation["warnings"])
    _listed("Pour le crédit", case.explanation["reasons"]["for"])
    _listed("Contre le crédit", case.explanation["reasons"]["against"])


def _listed(title: str, found: Sequence[Mapping[str, Any]]) -> None:
    if found:
        st.markdown(f"**{title}**\n\n" + "\n".join(f"- {escaped(one['sentence'])}" for one in found))


def _form(*, has_tokens: bool) -> None:
    """The reason is asked for each case anew, so that a second click on a button decides nothing."""
    reasons = st.session_state.setdefault(_REASONS, [])
    problems: Mapping[str, str] = st.session_state.pop(_PROBLEMS, {})
    with st.form("review", clear_on_submit=False, enter_to_submit=False):
        if not has_tokens:
            st.text_input("Votre nom", key="review name", max_chars=64, persist_state="session")
            _problem(problems.get("review name"))
        if reasons:
            st.pills(
                "Motif déjà donné", reasons, format_func=escaped, key="review pill", persist_state="page"
            )
        st.text_input(
            "Motif",
            key="review reason",
            max_chars=1000,
            persist_state="page",
            placeholder="Ce qui fonde votre décision",
        )
        _problem(problems.get("review reason"))
        with st.container(horizontal=True):
            st.form_submit_button("Accorder le crédit", on_click=_review, args=("accept",))
            st.form_submit_button("Refuser le crédit", on_click=_review, args=("refuse",))
            st.form_submit_button("Passer au suivant", on_click=_pass, type="tertiary")
    _problem(problems.get("review"))


def _problem(told: str | None) -> None:
    if told:
        st.error(told)


def _review(outcome: str) -> None:
    state = st.session_state
    typed = (state.get("review reason") or "").strip()
    reason, reviewer = typed or state.get("review pill"), (state.get("review name") or "").strip()
    problems = {}
    if "review name" in state and not reviewer:
        problems["review name"] = "Écrivez votre nom\u00a0: la revue le garde."
    if not reason:
        problems["review reason"] = "Écrivez un motif\u00a0: aucune revue n’est inscrite sans motif."
    if problems:
        state[_PROBLEMS] = problems
        return
    try:
        state[_QUEUE].review(shell.api(), outcome, reason, reviewer or None)
    except ApiError as error:
        is_open = state[_QUEUE].may_be_written
        told = f"{escaped(str(error))} {_PERHAPS_WRITTEN if is_open else _NOT_WRITTEN}"
        state[_PROBLEMS] = {"review": told}
        return
    state[_REASONS] = list(dict.fromkeys([reason, *state[_REASONS]]))[:_MOST_REASONS]
    _clear()


def _pass() -> None:
    queue: Queue = st.session_state[_QUEUE]
    if queue.has_case:  # a second click before the next one is shown passes nothing
        queue.skip("Dossier laissé dans la file.")
        _clear()


def _clear() -> None:
    st.session_state["review reason"] = ""
    st.session_state["review pill"] = None


def _values(inputs: Mapping[str, float | None], features: Mapping[str, Any]) -> None:
    lines = ["| Donnée | Valeur |", "| --- | ---: |"]
    for name, value in inputs.items():
        known = features.get(name, {})
        cells = known.get("title", name), values.shown(value, known.get("x-unit", ""))
        lines.append(f"| {' | '.join(map(escaped, cells))} |")
    with st.expander("Données du dossier", expanded=True):
        st.markdown("\n".join(lines))


# ---- What has been reviewed


def _record() -> None:
    """Raises ApiError."""
    decisions = record.reviewed(shell.api())
    if not decisions:
        st.info("Aucune décision n’a encore été revue.")
        return
    agreed, held = record.agreement(decisions)
    if len(decisions) == record.MOST:
        st.caption(f"Les {in_thousands(record.MOST)} décisions revues les plus récentes.")
    st.subheader("Accord des personnes et du modèle", anchor=False)
    if held:
        st.write(record.told(agreed, held))
    _by_label(decisions)
    st.subheader("Qui a décidé quoi", anchor=False)
    _by_reviewer(decisions)
    st.dataframe(
        {
            "Revue": [moment(one["reviewed"]) for one in decisions],
            "Par": [one["reviewer"] for one in decisions],
            "Crédit": [_OUTCOMES[one["outcome"]] for one in decisions],
            "Décision du modèle": [labels.NAMES[labels.KEYS.index(one["label"])] for one in decisions],
            "Probabilité de défaut": [one["probability_class_1"] for one in decisions],
            "Décision du": [moment(one["time"]) for one in decisions],
            "Reçu": [one["id"] for one in decisions],
        },
        hide_index=True,
        column_config={"Probabilité de défaut": st.column_config.NumberColumn(format="percent")},
        alt="Décisions revues, la plus récente d’abord",
    )


def _by_label(decisions: Sequence[Mapping[str, Any]]) -> None:
    counts = record.by_label(decisions)
    lines = ["| Décision du modèle | Côté du seuil | Accordés | Refusés |", "| --- | --- | ---: | ---: |"]
    sides = {
        "accept": "au-dessous : plutôt accorder",
        "refuse": "au-dessus : plutôt refuser",
        None: "au seuil",
    }
    for label, name in zip(labels.KEYS, labels.NAMES, strict=True):
        for leaning, side in sides.items():
            accepted, refused = (counts[label, leaning, outcome] for outcome in _OUTCOMES)
            if accepted + refused:
                lines.append(f"| {name} | {side} | {in_thousands(accepted)} | {in_thousands(refused)} |")
    st.markdown("\n".join(lines))


def _by_reviewer(decisions: Sequence[Mapping[str, Any]]) -> None:
    lines = ["| Personne | Accordés | Refusés | D’accord avec le modèle |", "| --- | ---: | ---: | ---: |"]
    for name, counts in sorted(record.by_reviewer(decisions).items()):
        share = in_percent(counts["agreed"] / counts["leaning"]) if counts["leaning"] else "–"
        shown = escaped(name)
        lines.append(
            f"| {shown} | {in_thousands(counts['accept'])} | {in_thousands(counts['refuse'])} | {share} |"
        )
    st.markdown("\n".join(lines))


main()
