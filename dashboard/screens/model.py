"""The page « Modèle »: the served version, its policy, what another threshold would change, and for whom."""

import os
from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard import labels, shell
from dashboard.api_client import ApiError
from dashboard.model import sentences
from dashboard.model.calibration import calibration
from dashboard.model.calibration import told as calibration_told
from dashboard.model.cost_curve import cost_curve
from dashboard.model.cost_curve import told as cost_told
from dashboard.model.weights import told as weights_told
from dashboard.model.weights import weights
from dashboard.numbers import counted, fixed, in_percent, in_thousands, signed

_STYLE = (
    "<style>@media(max-width:640px){[data-testid=stMarkdownContainer] :is(th,td){padding:4px 6px}}</style>"
)
_DRAWN = 760  # pixels, where there is room
_KEYS = ("reliable", "grey", "risky")
_NAMES = [name.replace(" ", "\u00a0") for name in labels.NAMES]  # in a cell as narrow as a telephone's


def main() -> None:
    shell.title("Modèle")
    st.html(_STYLE)
    try:
        model, ready = shell.api().model(), shell.api().ready()
    except ApiError as error:
        shell.failure(error)
        return
    _version(model, ready)
    try:
        totals = shell.api().reference()
    except ApiError as error:
        st.info(str(error))
    else:
        _reference(totals)
    _weights(model)
    _service(ready)


def _version(model: Mapping[str, Any], ready: Mapping[str, Any]) -> None:
    st.header("Version servie", anchor=False)
    st.markdown(sentences.identity(model))
    if ready["doubt"]:
        st.warning(f"Cette version n’est peut-être plus la bonne\u00a0: {ready['doubt']}")
    st.markdown(sentences.policy(model["policy"]))
    st.markdown(sentences.origin(model["policy"]))
    if not model["explains"]:
        st.info("Cette version ne sait pas expliquer ses décisions.")


def _reference(totals: Mapping[str, Any]) -> None:
    st.header("Sur les clients de référence", anchor=False)
    st.markdown(sentences.reference(totals["reference"]))
    _labels(totals)
    st.header("Un autre seuil, sur le papier", anchor=False)
    _threshold(totals)
    if totals["calibration"]:
        st.header("Calibrage", anchor=False)
        st.markdown(
            "Chaque point est un dixième des clients, du moins au plus risqué. Sur la ligne, il y a autant "
            "de défauts que prévu."
        )
        groups = totals["calibration"]
        st.image(calibration(groups), alt=calibration_told(groups), width=_DRAWN)
    st.header("Équité", anchor=False)
    _fairness(totals)


def _labels(totals: Mapping[str, Any]) -> None:
    lines = ["| Décision | Clients | Part | Taux de défaut |", "| --- | ---: | ---: | ---: |"]
    everybody = totals["reference"]["clients"]
    for name, key in zip(_NAMES, _KEYS, strict=True):
        clients, defaults = (totals["labels"][key][one] for one in ("clients", "defaults"))
        rate = in_percent(defaults / clients) if clients and defaults is not None else "–"
        lines.append(f"| {name} | {in_thousands(clients)} | {in_percent(clients / everybody)} | {rate} |")
    st.markdown("\n".join(lines))


@st.fragment
def _threshold(totals: Mapping[str, Any]) -> None:
    """Moves nothing but the slider: what each threshold would change is known already."""
    now = totals["now"]
    if now["cost_per_client"] is not None:
        st.markdown(sentences.costs(totals["costs"]))
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
    everybody, changed = in_thousands(totals["reference"]["clients"]), tried["changed"]
    would = "aurait" if changed < 2 else "auraient"
    st.markdown(f"**{counted(changed, 'client', 'clients')}** sur {everybody} {would} une autre décision.")
    st.markdown("\n".join(_compared(now, tried)))
    if now["cost_per_client"] is not None:
        drawn = totals["thresholds"], now, tried
        st.image(cost_curve(*drawn), alt=cost_told(*drawn), width=_DRAWN)


def _compared(now: Mapping[str, Any], tried: Mapping[str, Any]) -> list[str]:
    """A table of what is and what would be."""
    rows = [(name, key, 0) for name, key in zip(_NAMES, _KEYS, strict=True)]
    if now["cost_per_client"] is not None:
        rows += [
            ("Défauts parmi les fiables", "defaults_of_reliable", 0),
            ("Coût par client", "cost_per_client", 4),
        ]
    head = f"| | Seuil actuel, {in_percent(now['threshold'], 2)} | Seuil essayé, "
    lines = [f"{head}{in_percent(tried['threshold'], 2)} | Écart |", "| --- | ---: | ---: | ---: |"]
    for name, key, decimals in rows:
        one, other = (fixed(found[key], decimals) for found in (now, tried))
        lines.append(f"| {name} | {one} | {other} | {signed(tried[key] - now[key], decimals)} |")
    return lines


def _fairness(totals: Mapping[str, Any]) -> None:
    if not totals["fairness"]:
        st.markdown("Les clients de référence ne disent pas assez pour comparer des groupes.")
        return
    st.markdown(
        "Défauts\u00a0: leur taux (et celui qui est prévu)\u00a0; accords\u00a0: la part des demandes "
        "fiables\u00a0; bons payeurs\u00a0: la même, parmi ceux qui remboursent."
    )
    for one in totals["fairness"]:
        lines = [
            f"| {one['attribute']} | Clients | Défauts (prévus) | Accords | Bons payeurs |",
            "| --- | ---: | ---: | ---: | ---: |",
            *(_group(group) for group in one["groups"]),
        ]
        st.markdown("\n".join(lines))
        st.markdown(_between(one))


def _group(group: Mapping[str, Any]) -> str:
    cells = [
        group["name"],
        in_thousands(group["clients"]),
        f"{in_percent(group['default_rate']['value'])} ({in_percent(group['mean_probability'])})",
        in_percent(group["approval_rate"]["value"]),
        "–" if group["equal_opportunity"] is None else in_percent(group["equal_opportunity"]),
    ]
    return f"| {' | '.join(cells)} |"


def _between(one: Mapping[str, Any]) -> str:
    ratio = one["approval_ratio"]
    if ratio is None:
        return "Il n’y a pas deux groupes d’au moins 100 clients\u00a0: rien n’est comparé."
    low, value, high = (fixed(ratio[name], 2) for name in ("low", "value", "high"))
    kept = "n’est pas tenue" if one["is_below_four_fifths"] else "est tenue"
    return (
        f"Le plus faible taux d’accord, rapporté au plus fort\u00a0: {value} (entre {low} et {high}, 19 fois "
        f"sur 20). La règle des quatre cinquièmes (au moins 0,8) {kept}."
    )


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
        "d’une décision sont celles du client, à la page « Décision »."
    )
    st.image(weights(found), alt=weights_told(found), width=_DRAWN)


def _service(ready: Mapping[str, Any]) -> None:
    st.header("Service", anchor=False)
    st.markdown(sentences.journal(ready["journal"]))
    links = {
        "Versions, fiche du modèle et historique, dans MLflow": os.environ.get("MLFLOW_UI_URL"),
        "Surveillance\u00a0: trafic, dérive et alarmes": os.environ.get("MONITORING_URL"),
    }
    for name, url in links.items():
        if url:
            st.link_button(name, url)
    if not all(links.values()):
        st.caption(
            "L’exploitant peut donner ici les liens vers MLflow (MLFLOW_UI_URL) et vers la surveillance "
            "(MONITORING_URL)."
        )


main()
