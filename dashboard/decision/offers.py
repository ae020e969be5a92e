"""The loans that would change the decision, each as a card: what changes, and the API's sentence."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from dashboard import labels
from dashboard.api_client import zone
from dashboard.markdown import escaped
from dashboard.values import AMOUNT, digits, shown, span

_OTHER_NAMES = {"AMT_INCOME_TOTAL": "Revenu"}  # an amount that is moved, and no feature
_TERM, _ANNUITY = "CREDIT_TERM", "AMT_ANNUITY"
_CHANGES = {
    "AMT_CREDIT": "{amount} de crédit en {sign}",
    _ANNUITY: "{amount} de {sign} par échéance",
    "AMT_GOODS_PRICE": "{amount} de {sign} sur le prix du bien",
    "AMT_INCOME_TOTAL": "{amount} de revenu en {sign}",
}


def cards(
    offers: Mapping[str, Any],
    client: Mapping[str, float | None],
    schemas: Mapping[str, Any],
    said: Callable[[str], str],
) -> None:
    """`offers`: of an explanation, by the version of these `schemas`. `said`: how officers say a sentence."""
    st.markdown("### Ce qui changerait la décision")
    st.write(escaped(said(offers["sentence"])))
    if searched := limits(offers["searched"], schemas["Client"]["properties"]):
        st.caption(escaped(searched))
    for one in [*offers["found"], *([offers["worse"]] if offers["worse"] else [])]:
        with st.container(border=True):
            name = labels.NAMES[zone(one["prediction"], schemas)]
            st.markdown(f"#### {escaped(heading(one, client))} → {name}")
            st.write(escaped(said(one["sentence"])))


def limits(searched: Sequence[Mapping[str, Any]], known: Mapping[str, Any]) -> str:
    """How far each amount was moved alone: « Limites de la recherche : Prix du bien, 190 000 à 380 000. »"""
    ranges = {
        column: (ends["from"], ends["to"])
        for one in searched
        if len(one["levers"]) == 1
        for column, ends in one["ranges"].items()
    }
    told = [f"{_name(column, known)}, {span(ends, AMOUNT)}" for column, ends in ranges.items()]
    listed = "\u00a0; ".join(told)
    return f"Limites de la recherche\u00a0: {listed}." if told else ""


def _name(column: str, known: Mapping[str, Any]) -> str:
    title: str = known.get(column, {}).get("title", _OTHER_NAMES.get(column, column))
    return title


def heading(offer: Mapping[str, Any], client: Mapping[str, float | None]) -> str:
    """« 24 échéances de moins », « 20 000 de crédit en moins »."""
    changes = offer["change"]
    before, after = client.get(_TERM), offer["client"].get(_TERM)
    if [*changes] == [_ANNUITY] and before and after and round(after - before, 1):
        return f"{shown(round(abs(after - before), 1), 'échéances')} de {_sign(after - before)}"
    return " et ".join(_changed(column, ends["to"] - ends["from"]) for column, ends in changes.items())


def _changed(column: str, by: float) -> str:
    form = _CHANGES.get(column, column + "\u00a0: {amount} de {sign}")
    return form.format(amount=digits(abs(by), AMOUNT), sign=_sign(by))


def _sign(by: float) -> str:
    return "plus" if by > 0 else "moins"
