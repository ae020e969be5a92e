"""The loans that would change the decision, each as a card: what changes, and the API's sentence."""

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from dashboard import labels
from dashboard.api_client import zone
from dashboard.markdown import escaped
from dashboard.values import AMOUNT, digits, shown

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
    for one in [*offers["found"], *([offers["worse"]] if offers["worse"] else [])]:
        with st.container(border=True):
            name = labels.NAMES[zone(one["prediction"], schemas)]
            st.markdown(f"#### {escaped(heading(one, client))} → {name}")
            st.write(escaped(said(one["sentence"])))


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
