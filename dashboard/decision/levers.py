"""Sliders that answer at once what the decision would be on another loan. Nothing is decided or recorded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from dashboard import labels, shell
from dashboard.api_client import ApiError
from dashboard.decision.fields import Client, completed
from dashboard.numbers import NotANumber, in_percent, in_thousands

_CREDIT, _TERM, _INCOME = "AMT_CREDIT", "CREDIT_TERM", "AMT_INCOME_TOTAL"
_SHARE = 0.05  # of the amount: a step of its slider


@dataclass(frozen=True)
class Loan:
    """What the sliders say: `paid_down` is what the client pays himself, in place of credit."""

    credit: float
    paid_down: float
    term: float
    income: float | None


@st.fragment
def levers(client: Client, schemas: Mapping[str, Any]) -> None:
    ratio = schemas["Client"]["properties"].get(_TERM, {}).get("x-ratio")
    credit, term = client.get(_CREDIT), client.get(_TERM)
    if not (ratio and credit and term and credit > 0 and term > 0):
        st.write("Il faut un montant de crédit et une échéance pour essayer un autre prêt.")
        return
    loan = _sliders(credit, term, client.get(_INCOME))
    borrowed = loan.credit - loan.paid_down
    changed = {_CREDIT: borrowed, ratio["denominator"]: round(borrowed / loan.term, 2)}
    if loan == Loan(credit, 0.0, term, client.get(_INCOME)):
        st.caption("Déplacez un curseur\u00a0: la réponse suit, et rien n’est enregistré.")
        return
    if loan.income:
        changed[_INCOME] = loan.income
    try:
        _answer(completed({**client, **changed}, schemas["Client"]), ratio["denominator"], schemas)
    except (ApiError, NotANumber) as error:
        st.warning(str(error))


def _sliders(credit: float, term: float, income: float | None) -> Loan:
    left, right = st.columns(2)
    with left:
        wanted = _amount("Crédit", credit, 0.5 * credit, credit, credit)
        paid_down = _amount("Apport", credit, 0.0, 0.45 * credit, 0.0)
    with right:
        least, most = min(6.0, term), max(60.0, term)
        chosen = st.slider("Durée (échéances)", least, most, float(term), 0.5, format="localized")
        earned = _amount("Revenu", income, income, 2 * income, income) if income and income > 0 else None
    return Loan(wanted, paid_down, chosen, earned)


def _amount(name: str, whole: float, low: float, high: float, value: float) -> float:
    return float(st.slider(name, float(low), float(high), float(value), whole * _SHARE, format="localized"))


def _answer(client: Client, annuity: str, schemas: Mapping[str, Any]) -> None:
    """Raises ApiError."""
    decision = shell.api().explain(client)["decision"]
    names = schemas["Decision"]["properties"]["prediction"]["enum"]
    zone = names.index(decision["prediction"])
    st.markdown(
        f"Avec ce prêt\u00a0: **{labels.NAMES[zone]}**, probabilité de défaut "
        f"{in_percent(decision['probability_class_1'], 2)}, échéance "
        f"{in_thousands(round(client[annuity] or 0))}."
    )
