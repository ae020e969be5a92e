"""Draws clients: their applications, their numbers of rows in the history tables, and the means of these."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.identities import IDENTITIES
from training.synthetic.calibration import Calibration, Flags, Floats

Columns = dict[str, Floats]
Counts = NDArray[np.int64]

EXTERNAL_SOURCES = ("EXT_SOURCE_1", "EXT_SOURCE_2", "EXT_SOURCE_3")
DAYS = ("DAYS_BIRTH", "DAYS_ID_PUBLISH", "DAYS_REGISTRATION")

# Explained under `derived` in calibration.json.
PRICE_STEP = 4500.0
AMOUNT_STEP = 4.5


@dataclass(frozen=True)
class Clients:
    """Arrays with one value per client, NaN if it is missing. The rows that have these means come later."""

    application: Columns
    revolving: Flags
    female: Flags
    row_counts: Mapping[str, Counts]
    means: Columns


def draw_clients(calibration: Calibration, count: int, generator: np.random.Generator) -> Clients:
    scores = calibration.copula.draw(count, generator)
    revolving = calibration.copula.happens("revolving", scores)
    has_rows = _has_rows(calibration, scores, generator)
    missing = _missing(calibration, scores, has_rows["bureau"], generator)
    complete = _application(calibration, scores, revolving)
    return Clients(
        application={name: np.where(missing.get(name, False), np.nan, complete[name]) for name in complete},
        revolving=revolving,
        female=calibration.copula.happens("female", scores),
        row_counts={
            table: np.where(clients, _row_counts(calibration, table, scores, generator), 0)
            for table, clients in has_rows.items()
        },
        means=_means(calibration, scores),
    )


def _has_rows(calibration: Calibration, scores: Columns, generator: np.random.Generator) -> dict[str, Flags]:
    """Which clients have rows in each table. Without POS rows there mostly was no earlier credit at all."""
    shares = calibration.facts["application"]["conditional"]
    has_pos = ~calibration.copula.happens("none:POS_CASH_balance", scores)

    def follows_pos(name: str) -> Flags:
        none = np.where(has_pos, shares[f"no_{name}_with_POS"], shares[f"no_{name}_without_POS"])
        return generator.random(len(has_pos)) >= none

    return {
        "bureau": ~calibration.copula.happens("none:bureau", scores),
        "POS_CASH_balance": has_pos,
        "installments_payments": follows_pos("installments"),
        "previous_application": follows_pos("previous"),
    }


def _missing(
    calibration: Calibration, scores: Columns, has_bureau: Flags, generator: np.random.Generator
) -> dict[str, Flags]:
    """Which clients lack a value, by its name. Clients unknown to other banks rarely have an EXT_SOURCE_3."""
    application = calibration.facts["application"]
    missing = {name: calibration.copula.happens(f"missing:{name}", scores) for name in EXTERNAL_SOURCES}
    without_bureau = application["conditional"]["EXT_SOURCE_3_missing_without_bureau"]
    missing["EXT_SOURCE_3"] = np.where(
        has_bureau, missing["EXT_SOURCE_3"], generator.random(len(has_bureau)) < without_bureau
    )
    independent = {
        name: generator.random(len(has_bureau)) < share
        for name, share in application["missing"].items()
        if name not in missing
    }
    return missing | independent


def _application(calibration: Calibration, scores: Columns, revolving: Flags) -> Columns:
    def drawn(name: str) -> Floats:
        return calibration.quantiles("application", "marginals", name)(scores[name])

    def drawn_by_kind(name: str) -> Floats:
        of_revolving_loans = calibration.quantiles("revolving", "marginals", name)
        return np.where(revolving, of_revolving_loans(scores[name]), drawn(name))

    price = _to_step(drawn_by_kind("AMT_GOODS_PRICE"), PRICE_STEP)
    ratio = drawn_by_kind("CREDIT_GOODS_RATIO")
    credit = np.where(ratio == 1, price, _to_step(price * ratio, AMOUNT_STEP))
    return {
        "AMT_INCOME_TOTAL": drawn("AMT_INCOME_TOTAL").round(2),
        "AMT_CREDIT": credit,
        "AMT_ANNUITY": _to_step(credit / drawn_by_kind("CREDIT_TERM"), AMOUNT_STEP),
        "AMT_GOODS_PRICE": price,
        **{name: drawn(name).round() for name in DAYS},
        **{name: drawn(name) for name in EXTERNAL_SOURCES},
    }


def _to_step(amounts: Floats, step: float) -> Floats:
    return np.rint(amounts / step) * step


def _row_counts(
    calibration: Calibration, table: str, scores: Columns, generator: np.random.Generator
) -> Counts:
    """Rows per client. A fraction is rounded up with its own probability, which keeps the table's size."""
    counts = calibration.quantiles("history", table, "rows_per_client", "quantiles")(scores[f"rows:{table}"])
    return np.floor(counts + generator.random(len(counts))).astype(np.int64)


def _means(calibration: Calibration, scores: Columns) -> Columns:
    return {
        name: calibration.quantiles("history", "client_features", name)(scores[name])
        for name in calibration.facts["history"]["client_features"]
    }


def quotients(application: Columns) -> Columns:
    """The ratios of `features.identities` before they are rounded. No drawn denominator is 0."""
    terms = {name: ratio.terms(application) for name, ratio in IDENTITIES.items()}
    return {name: numerator / denominator for name, (numerator, denominator) in terms.items()}


def ratios(application: Columns) -> Columns:
    """The features of `features.identities`."""
    exact = quotients(application)
    return {name: ratio.rounded(exact[name], np.floor) for name, ratio in IDENTITIES.items()}
