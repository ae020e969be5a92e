"""Aggregates the raw tables to one row per client, by Ibis expressions that run on DuckDB and on Spark.

Means are sums of DECIMAL or of integers, divided as doubles at the end. The last bits of a sum of doubles
depend on the order of the threads, and a decision must not depend on the number of cores.
"""

from collections.abc import Mapping

import ibis.expr.types as ir

from features.catalogue import CATALOGUE
from features.identities import IDENTITIES, TOO_LARGE, Ratio
from features.raw_tables import APPLICATION, KEY, LABEL

FEATURES = tuple(feature.name for feature in CATALOGUE)
# For the fairness report, never for the model. The other such attribute, age, is in FEATURES as DAYS_BIRTH.
SENSITIVE = ("CODE_GENDER",)


def client_features(tables: Mapping[str, ir.Table]) -> ir.Table:
    """One row per client of `application`, by ascending SK_ID_CURR: TARGET, SENSITIVE, FEATURES as doubles.

    `tables` holds the raw tables by the catalogue's names. A client who has no rows in one of them lacks the
    features of that table.
    """
    clients = _with_ratios(tables[APPLICATION])
    for number, history in enumerate(_histories(tables)):
        clients = clients.left_join(history, KEY, rname=f"{{name}}_{number}")
    features = {name: clients[name].cast("float64") for name in FEATURES}
    return clients.select(KEY, LABEL, *SENSITIVE, **features).order_by(KEY)


def _with_ratios(application: ir.Table) -> ir.Table:
    return application.mutate(**{name: _of(application, ratio) for name, ratio in IDENTITIES.items()})


def _of(application: ir.Table, ratio: Ratio) -> ir.Value:
    """The rounded ratio; NULL from 1e15 on, as no table may hold such a number."""
    quotient = _ratio(*ratio.terms(application))
    return ratio.rounded((quotient.abs() < TOO_LARGE).ifelse(quotient, None), _floor)


def _floor(values: ir.FloatingValue) -> ir.FloatingValue:
    """The floor as a double. Ibis makes an integer of it, which a double from 2**53 on need not fit in."""
    is_whole = values.abs() >= 2.0**53
    return is_whole.ifelse(values, is_whole.ifelse(0.0, values).floor().cast("float64"))


def _histories(tables: Mapping[str, ir.Table]) -> tuple[ir.Table, ...]:
    bureau, payments = tables["bureau"], tables["installments_payments"]
    point_of_sale, previous = tables["POS_CASH_balance"], tables["previous_application"]
    return (
        _means(bureau, DEBT_CREDIT_RATIO=_debt_share(bureau)),
        _means(
            payments,
            INSTA_AMT_PAYMENT=payments.AMT_PAYMENT.cast("decimal(18, 3)"),
            INSTA_NUM_INSTALMENT_VERSION=payments.NUM_INSTALMENT_VERSION,
        ),
        _means(point_of_sale, POS_CNT_INSTALMENT_FUTURE=point_of_sale.CNT_INSTALMENT_FUTURE),
        _means(previous, PREV_CNT_PAYMENT=previous.CNT_PAYMENT),
    )


def _debt_share(bureau: ir.Table) -> ir.DecimalColumn:
    """The part of each credit that is still owed; 0 if that is missing, infinite or not below 1e9."""
    share = _ratio(bureau.AMT_CREDIT_SUM_DEBT, bureau.AMT_CREDIT_SUM)
    return share.round(9).try_cast("decimal(18, 9)").fill_null(0)


def _means(table: ir.Table, **values: ir.NumericColumn) -> ir.Table:
    """The mean per client of each column of exact values, without missing values."""
    return table.group_by(KEY).aggregate(
        **{name: _ratio(value.sum().cast("float64"), value.count()) for name, value in values.items()}
    )


def _ratio(numerator: ir.NumericValue, denominator: ir.NumericValue) -> ir.FloatingValue:
    """The quotient, or NULL if the denominator is 0, where DuckDB would give infinity and Spark an error."""
    return numerator / denominator.nullif(0)
