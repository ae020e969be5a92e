"""The page « Modèle »: the served version, its policy, what another threshold would change, and for whom."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard import costs, shell
from dashboard.api_client import ApiError
from dashboard.markdown import escaped
from dashboard.model import calibration, cost_curve, history, links, sentences, tables
from dashboard.numbers import in_percent
from dashboard.shares import bars, told

_DRAWN = 660  # pixels, where there is room
_SERIES = ("dans le modèle",)


def main() -> None:
    shell.title("Modèle")
    try:
        model, ready = shell.api().model(), shell.api().ready()
    except ApiError as error:
        shell.failure(error)
        return
    _version(model, ready)
    try:
        totals = shell.api().reference()
    except ApiError as error:
        shell.absence(error, "reference")
    else:
        _reference(totals)
    _weights(model)
    _service(ready)
    _history(model)


def _version(model: Mapping[str, Any], ready: Mapping[str, Any]) -> None:
    st.header("Version servie", anchor=False)
    st.markdown(sentences.identity(model))
    if ready["doubt"]:
        st.warning(escaped(f"Cette version n’est peut-être plus la bonne\u00a0: {ready['doubt']}"))
    st.markdown(sentences.policy(model["policy"]))
    st.markdown(sentences.origin(model["policy"]))
    if not model["explains"]:
        st.info("Cette version ne sait pas expliquer ses décisions.")


def _reference(totals: Mapping[str, Any]) -> None:
    st.header("Sur les clients de référence", anchor=False)
    st.markdown(sentences.reference(totals["reference"]))
    st.markdown(tables.by_label(totals))
    st.header("Un autre seuil, sur le papier", anchor=False)
    _threshold(totals)
    if totals["calibration"]:
        st.header("Calibrage", anchor=False)
        _calibration(totals)
    st.header("Équité", anchor=False)
    _fairness(totals["fairness"])


@st.fragment
def _threshold(totals: Mapping[str, Any]) -> None:
    """Moves nothing but the slider: what each threshold would change is known already."""
    now = totals["now"]
    has_costs = all(one["cost_per_client"] is not None for one in [now, *totals["thresholds"]])
    if has_costs:
        st.markdown(costs.meaning(costs.of_a_default(totals["costs"]) or 1.0))
    by_threshold = {one["threshold"]: one for one in [*totals["thresholds"], now]}
    tried = by_threshold[
        st.select_slider(
            "Seuil essayé",
            sorted(by_threshold),
            value=now["threshold"],
            format_func=lambda threshold: in_percent(threshold, 2),
            key="threshold tried",
            help="La marge reste celle de la version. Rien n’est changé\u00a0: un autre seuil demande une "
            "nouvelle version, que le responsable du modèle enregistre.",
        )
    ]
    st.markdown(sentences.changed(now, tried, totals["reference"]["clients"]))
    st.markdown(tables.compared(now, tried, has_costs=has_costs))
    if has_costs:
        drawn = totals["thresholds"], now, tried
        st.image(cost_curve.drawn(*drawn), alt=cost_curve.told(*drawn), width=_DRAWN)
        st.markdown(
            "Trait plein\u00a0: le seuil actuel, dans sa zone grise. Pointillé\u00a0: le seuil essayé."
        )


def _calibration(totals: Mapping[str, Any]) -> None:
    groups = totals["calibration"]
    st.markdown(
        "Chaque point est un dixième des clients, du moins au plus risqué. Sur la ligne, il y a autant de "
        "défauts que prévu."
    )
    are_expected = sentences.are_expected(totals["reference"])
    st.image(
        calibration.drawn(groups, are_expected=are_expected),
        alt=calibration.told(groups, are_expected=are_expected),
        width=_DRAWN,
    )
    if totals["figures"]:
        st.markdown(sentences.figures(totals["figures"], are_expected=are_expected))


def _fairness(comparisons: list[Mapping[str, Any]] | None) -> None:
    if not comparisons:
        st.markdown("Les clients de référence ne disent pas assez pour comparer des groupes.")
        return
    st.markdown(
        "Défauts\u00a0: leur taux (et celui qui est prévu)\u00a0; accords\u00a0: la part des demandes "
        "fiables\u00a0; bons payeurs\u00a0: la même, parmi ceux qui remboursent."
    )
    for one in comparisons:
        st.markdown(tables.by_group(one))
        st.markdown(sentences.between(one))


def _weights(model: Mapping[str, Any]) -> None:
    st.header("Poids des données", anchor=False)
    found = [
        (one["label"] or one["name"], one["share_of_gain"])
        for one in model["features"]
        if one["share_of_gain"] is not None
    ]
    if not found:
        st.markdown("Cette version ne dit pas ce que pèse chaque donnée.")
        return
    st.markdown(
        "La part de chaque donnée dans ce qui sépare, pour tous, les clients risqués des autres. Les raisons "
        "d’une décision sont celles du client, à la page «\u00a0Décision\u00a0»."
    )
    st.image(bars(found, _SERIES), alt=told(found, _SERIES), width=_DRAWN)


def _service(ready: Mapping[str, Any]) -> None:
    st.header("Service", anchor=False)
    st.markdown(sentences.journal(ready["journal"]))


def _history(model: Mapping[str, Any]) -> None:
    """Last, because a registry may take seconds to answer."""
    st.header("Historique", anchor=False)
    told: Mapping[str, Any] = {"champions": [], "examination": None, "card": None}
    if model["version"] is None:
        st.markdown("La version est servie depuis un fichier\u00a0: aucun registre n’en garde l’historique.")
    else:
        try:
            with st.spinner("Le registre est consulté…"):
                told = shell.api().model_history()
        except ApiError as error:
            shell.absence(error, "history")
    if told["champions"]:
        st.markdown(history.champions(told["champions"]))
    if told["examination"]:
        _examination(told["examination"])
    if told["card"]:
        with st.expander("Fiche du modèle, en anglais"):
            st.markdown(history.card(told["card"]))
            if len(told["card"]) > history.MOST_OF_CARD:
                st.caption(
                    "La fiche est plus longue\u00a0: la suite est dans MLflow, à la page de la version."
                )
    _links(model, told["examination"])


def _examination(told: Mapping[str, Any]) -> None:
    st.subheader("Dernier examen", anchor=False)
    st.markdown(history.examination(told))
    if differences := history.differences(told):
        st.markdown(differences)


def _links(model: Mapping[str, Any], examination: Mapping[str, Any] | None) -> None:
    for name, address in links.known(model, examination):
        st.link_button(name, address)


main()
