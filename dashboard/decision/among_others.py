"""The client among others: the spread of a feature, two of them, the nearest clients, and what weighs."""

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from dashboard import labels, shell
from dashboard.api_client import ApiError
from dashboard.decision import distribution
from dashboard.decision.crossing import Crossing
from dashboard.decision.fields import Client
from dashboard.decision.measures import Measure, measures
from dashboard.markdown import escaped
from dashboard.numbers import counted, in_percent
from dashboard.shares import bars, told

_KEPT = "among others"  # what the session keeps, for one client of one version
_SHOWN = 500  # reference clients behind two features
_DRAWN = 660  # pixels, where there is room


@st.fragment
def among_others(client: Client, explanation: Mapping[str, Any] | None, digest: str | None) -> None:
    """`explanation`: None where there is none. `digest`: of the version that has decided on the client."""
    about, api = (digest, client), shell.api(digest)
    try:
        model = _kept("model", digest, api.model)
        near = _kept("neighbours", about, lambda: api.neighbours(client))
    except ApiError as error:
        shell.absence(error, "among others")
        return
    known = {one.name: one for one in measures(model)}
    _nearest(near)
    if known:
        st.markdown("### Une valeur parmi celles des autres")
        _one_feature(known, near, client, digest)
        st.markdown("### Deux valeurs ensemble")
        _two_features(known, near, client, digest)
    else:
        st.info("Cette version ne dit rien des clients sur lesquels elle a appris.")
    if explanation is not None:
        st.markdown("### Ce qui pèse")
        _weights(model, explanation)


def _kept(name: str, about: object, ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the API said before about the same. Raises ApiError."""
    kept: dict[str, Any] = st.session_state.setdefault(_KEPT, {})
    if name not in kept or kept[name][0] != about:
        kept[name] = about, ask()
    answer: dict[str, Any] = kept[name][1]
    return answer


def _nearest(near: Mapping[str, Any]) -> None:
    clients = near["neighbours"]
    st.markdown("### Les clients les plus proches")
    parts = [
        f"{name} {sum(one['label'] == key for one in clients)}".replace(" ", "\u00a0")
        for name, key in zip(labels.NAMES, labels.KEYS, strict=True)
    ]
    known = [one["defaulted"] for one in clients if one["defaulted"] is not None]
    nearest = f"Parmi les {len(clients)} clients de référence les plus proches, qui sont fictifs"
    st.markdown(f"{nearest}\u00a0: {', '.join(parts)}.")
    if known:
        unpaid = counted(sum(known), "n’a pas remboursé", "n’ont pas remboursé")
        st.markdown(f"De ceux dont la suite est connue ({len(known)}), {unpaid}.")


def _one_feature(
    known: Mapping[str, Measure], near: Mapping[str, Any], client: Client, digest: str | None
) -> None:
    try:
        reference = _kept("reference", digest, shell.api(digest).reference)
    except ApiError as error:
        shell.absence(error, "one feature")
        return
    totals = {one["name"]: one for one in reference["features"]}
    counted_too = {name: one for name, one in known.items() if name in totals}
    if not counted_too:
        st.info("Aucune valeur n’est comptée parmi les clients de référence.")
        return
    measure = _chosen("Valeur", counted_too, "distribution of", 0)
    value, place = client.get(measure.name), near["percentiles"].get(measure.name)
    below = place["below"] if place else None
    st.markdown(escaped(" ".join(distribution.place_of(measure, totals[measure.name], value, below))))
    st.image(
        distribution.distribution(measure, totals[measure.name], value),
        alt=distribution.told(measure, totals[measure.name], value),
        width=_DRAWN,
    )
    st.caption("La première et la dernière barre comptent aussi les valeurs qui sont au-delà.")


def _two_features(
    known: Mapping[str, Measure], near: Mapping[str, Any], client: Client, digest: str | None
) -> None:
    try:
        others = _kept("clients", digest, lambda: shell.api(digest).reference_clients(0, _SHOWN))["clients"]
    except ApiError as error:
        shell.absence(error, "two features")
        return
    left, right = st.columns(2)
    with left:
        across = _chosen("Vers la droite", known, "crossing across", 0)
    with right:
        up = _chosen("Vers le haut", known, "crossing up", 1)
    crossed = Crossing(across, up, others, near["neighbours"], client)
    st.caption("Les clients les plus proches sont en couleur pleine\u00a0; au bord, ceux qui sont au-delà.")
    st.image(crossed.drawn(), alt=crossed.told(), width=_DRAWN)


def _chosen(label: str, known: Mapping[str, Measure], key: str, usual: int) -> Measure:
    names = [*known]
    name = st.selectbox(
        label, names, index=min(usual, len(names) - 1), format_func=lambda one: known[one].label, key=key
    )
    return known[name]


def _weights(model: Mapping[str, Any], explanation: Mapping[str, Any]) -> None:
    own = {one["feature"]: abs(one["points"]) for one in explanation["contributions"]}
    whole = sum(own.values()) or 1.0
    rows = [
        (one["label"] or one["name"], own.get(one["name"], 0.0) / whole, one["share_of_gain"])
        for one in model["features"]
        if one["share_of_gain"] is not None
    ]
    if not rows:
        st.markdown("Cette version ne dit pas ce que pèse chaque donnée.")
        return
    heaviest, share, _ = max(rows, key=lambda row: row[1])
    st.markdown(
        f"Pour ce client, «\u00a0{escaped(heaviest)}\u00a0» pèse le plus\u00a0: {in_percent(share, 0)} "
        "de tout ce que ses valeurs ajoutent ou retirent."
    )
    series = "pour ce client", "dans le modèle"
    st.image(bars(rows, series), alt=told(rows, series), width=_DRAWN)
