"""Sliders that answer at once what the decision would be on another loan. Nothing is decided or recorded."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from dashboard import labels, shell
from dashboard.api_client import ApiError, zone
from dashboard.decision.explaining import explained
from dashboard.decision.fields import Client, completed
from dashboard.markdown import escaped
from dashboard.numbers import NotANumber, counted, in_percent
from dashboard.plane import end_of
from dashboard.values import AMOUNT, shown

_CREDIT, _TERM, _INCOME = "AMT_CREDIT", "CREDIT_TERM", "AMT_INCOME_TOTAL"
_INSTALMENTS = "échéances"
_STEPS = 25  # of a slider, about
_MOST_SINGLE = 120  # instalments that are counted one by one


@dataclass(frozen=True)
class Loan:
    """What the sliders say: `paid_down` is what the client pays himself, in place of credit."""

    credit: float
    paid_down: float
    term: float
    income: float | None


@st.fragment
def levers(client: Client, schemas: Mapping[str, Any], digest: str | None) -> None:
    """`digest`: of the version that has decided on the client, with its `schemas`."""
    st.markdown("### Essayer un autre prêt")
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
        tried = completed({**client, **changed}, schemas["Client"])
        explanation = explained(tried, schemas, digest)
    except NotANumber as error:
        st.warning(escaped(str(error)))
    except ApiError as error:
        shell.absence(error, "levers")
    else:
        _answer(explanation, tried[ratio["denominator"]], schemas)


def _sliders(credit: float, term: float, income: float | None) -> Loan:
    left, right = st.columns(2)
    with left:
        wanted = _slider("Crédit", 0.5 * credit, credit, credit)
        paid_down = _slider("Apport", 0.0, 0.45 * credit, 0.0)
    with right:
        chosen = _slider("Durée", min(6.0, term), max(60.0, term), term, _INSTALMENTS)
        earned = _slider("Revenu", income, 2 * income, income) if income and income > 0 else None
    return Loan(wanted, paid_down, chosen, earned)


def _slider(name: str, low: float, high: float, now: float, unit: str = AMOUNT) -> float:
    """Between two ends, in round steps, and what it is now to the last digit."""
    step = 1.0 if unit == _INSTALMENTS and high <= _MOST_SINGLE else end_of((high - low) / _STEPS)
    rounds = [place * step for place in range(math.ceil(low / step), math.floor(high / step) + 1)]
    options = sorted({now, *rounds})
    return float(st.select_slider(name, options, now, format_func=lambda one: _written(one, unit)))


def _written(number: float, unit: str) -> str:
    return shown(round(number, 1) if unit == _INSTALMENTS else number, unit)


def _answer(explanation: Mapping[str, Any], annuity: float | None, schemas: Mapping[str, Any]) -> None:
    decision, warnings = explanation["decision"], len(explanation["warnings"])
    name = labels.NAMES[zone(decision["prediction"], schemas)]
    st.markdown(
        f"Avec ce prêt\u00a0: **{name}**, probabilité de défaut "
        f"{in_percent(decision['probability_class_1'], 2)}, échéance {shown(annuity, AMOUNT)}."
    )
    if warnings:
        said = "\n".join(f"- {escaped(one['sentence'])}" for one in explanation["warnings"])
        st.warning(f"{counted(warnings, 'avertissement', 'avertissements')}\u00a0:\n\n{said}")
