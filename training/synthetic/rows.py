"""Draws the rows of the history tables so that they aggregate to each client's drawn mean.

The values are whole numbers, so n rows cannot have every mean. The total is rounded first, then spread over
the rows.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from training.synthetic.calibration import Calibration, Flags, Floats, normals, rounded
from training.synthetic.clients import Clients, Columns, Counts

CENTS = 100


@dataclass(frozen=True)
class Rows:
    """The rows of a table in the order of their clients: client i has `counts[i]` of them."""

    counts: Counts

    def __len__(self) -> int:
        return int(self.counts.sum())

    @cached_property
    def owner(self) -> Counts:
        return self.of_client(np.arange(len(self.counts)))

    @cached_property
    def position(self) -> Counts:
        """0 for the first row of each client."""
        return np.arange(len(self)) - self.of_client(self.counts.cumsum() - self.counts)

    def of_client(self, values: NDArray) -> NDArray:
        return np.repeat(values, self.counts)

    def sum(self, values: NDArray) -> Floats:
        return np.bincount(self.owner, values, minlength=len(self.counts)).astype(np.float64)


@dataclass(frozen=True)
class History:
    """The rows of one table, and the features to which they aggregate, NaN for a client without any."""

    rows: Rows
    columns: Columns
    features: Columns


def draw_histories(
    calibration: Calibration, clients: Clients, generator: np.random.Generator
) -> dict[str, History]:
    draws = {
        "bureau": _bureau,
        "previous_application": _previous_application,
        "POS_CASH_balance": _pos_cash_balance,
        "installments_payments": _installments_payments,
    }
    return {
        table: draw(calibration, clients, Rows(clients.row_counts[table]), generator)
        for table, draw in draws.items()
    }


# ---- Rows whose values sum to a given total ----------------------------------------------------------------


def spread(totals: Floats, weights: Floats, rows: Rows) -> Floats:
    """One whole number per row, about in proportion to the weights, with each client's exact total."""
    running = np.concatenate([[0.0], weights.cumsum()])
    stops = rows.counts.cumsum()
    before, after = rows.of_client(running[stops - rows.counts]), rows.of_client(running[stops])
    reached = np.rint(rows.of_client(totals) * ((running[1:] - before) / (after - before)))
    return np.where(rows.position == 0, reached, np.diff(reached, prepend=0.0))


def _known(missing_rate: float, rows: Rows, generator: np.random.Generator) -> Flags:
    """Which rows have a value. The first of each client always does, so that there is a mean.

    The later rows lack values more often, to keep the overall rate.
    """
    later = rows.position > 0
    rate = missing_rate * len(rows) / max(later.sum(), 1)
    return ~later | (generator.random(len(rows)) >= rate)


def _whole_numbers(means: Floats, weights: Floats, known: Flags, rows: Rows) -> tuple[Floats, Floats]:
    """The value of each row, and the mean of each client's values."""
    counts = rows.sum(known)
    totals = _whole_totals(means, counts)
    return np.where(known, spread(totals, weights * known, rows), np.nan), _ratio(totals, counts)


def _whole_totals(means: Floats, counts: Floats) -> Floats:
    """The nearest whole totals, or the next nearest where rounding would make a fractional mean whole.

    The drawn means are whole as often as those of real clients: rounding must not make more of them whole.
    """
    exact = means * counts
    totals = np.rint(exact)
    turned_whole = (counts > 1) & (totals % np.maximum(counts, 1) == 0)
    return totals + turned_whole * np.sign(exact - totals)


def _ratio(numerator: Floats, denominator: NDArray) -> Floats:
    """NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator != 0)


# ---- The tables --------------------------------------------------------------------------------------------


def _previous_application(
    calibration: Calibration, clients: Clients, rows: Rows, generator: np.random.Generator
) -> History:
    facts = calibration.facts["history"]["previous_application"]["CNT_PAYMENT"]
    usual = np.array(facts["weights"]) / sum(facts["weights"])
    # A term of 0 keeps a small weight: all the terms of a client may be drawn as 0.
    weights = generator.choice(facts["values"], len(rows), p=usual) + 1e-3
    known = _known(facts["missing_rate"], rows, generator)
    values, means = _whole_numbers(clients.means["PREV_CNT_PAYMENT"], weights, known, rows)
    return History(rows, {"CNT_PAYMENT": values}, {"PREV_CNT_PAYMENT": means})


def _pos_cash_balance(
    calibration: Calibration, clients: Clients, rows: Rows, generator: np.random.Generator
) -> History:
    facts = calibration.facts["history"]["POS_CASH_balance"]["CNT_INSTALMENT_FUTURE"]
    # Count down from about twice the mean to none. The client's contracts take turns along the countdown.
    countdown: Floats = rows.of_client(rows.counts - 0.5) - rows.position
    known = _known(facts["missing_rate"], rows, generator)
    values, means = _whole_numbers(clients.means["POS_CNT_INSTALMENT_FUTURE"], countdown, known, rows)
    return History(rows, {"CNT_INSTALMENT_FUTURE": values}, {"POS_CNT_INSTALMENT_FUTURE": means})


def _installments_payments(
    calibration: Calibration, clients: Clients, rows: Rows, generator: np.random.Generator
) -> History:
    facts = calibration.facts["history"]["installments_payments"]["AMT_PAYMENT"]
    # With 3 decimals only few sizes are possible, and none is so near a tie that its last bits matter.
    scores = rounded(normals(generator, len(rows)), 3)
    sizes = rounded(np.exp(float(facts["log_sd_within_client"]) * scores), 6)
    known = _known(facts["missing_rate"], rows, generator)
    counts = rows.sum(known)
    totals = np.rint(clients.means["INSTA_AMT_PAYMENT"] * counts * CENTS)
    payments = np.where(known, spread(totals, sizes * known, rows) / CENTS, np.nan)
    versions, mean_versions = _whole_numbers(
        clients.means["INSTA_NUM_INSTALMENT_VERSION"],
        weights=np.full(len(rows), 1.0),
        known=np.full(len(rows), True),
        rows=rows,
    )
    return History(
        rows,
        {"NUM_INSTALMENT_VERSION": versions, "AMT_PAYMENT": payments},
        {
            "INSTA_AMT_PAYMENT": _ratio(totals / CENTS, counts),
            "INSTA_NUM_INSTALMENT_VERSION": mean_versions,
        },
    )


def _bureau(
    calibration: Calibration, clients: Clients, rows: Rows, generator: np.random.Generator
) -> History:
    facts = calibration.facts["history"]["bureau"]
    of_debt = facts["debt_ratio"]
    shares = _debt_shares(calibration, clients.means["DEBT_CREDIT_RATIO"], rows, generator)
    zero_rate = facts["AMT_CREDIT_SUM"]["zero_rate"] / of_debt["zero_or_missing_share"]
    is_zero = (shares == 0) & (generator.random(len(rows)) < zero_rate)
    is_unknown = (shares == 0) & (generator.random(len(rows)) < of_debt["missing_debt_share_of_zero"])
    sums = calibration.quantiles("history", "bureau", "AMT_CREDIT_SUM", "quantiles")
    credit = np.where(is_zero, 0.0, sums(normals(generator, len(rows))).round(2))
    debt = np.where(is_unknown, np.nan, (shares * credit).round(2))
    ratio = np.nan_to_num(_ratio(debt, credit))
    return History(
        rows,
        {"AMT_CREDIT_SUM": credit, "AMT_CREDIT_SUM_DEBT": debt},
        {"DEBT_CREDIT_RATIO": _ratio(rows.sum(ratio), rows.counts)},
    )


def _debt_shares(
    calibration: Calibration, means: Floats, rows: Rows, generator: np.random.Generator
) -> Floats:
    """The part of each credit still owed: 0 for most, and for the others what gives the client's mean."""
    sizes = calibration.quantiles("history", "bureau", "debt_ratio", "nonzero_quantiles")
    expected = rows.of_client(np.abs(means)) / sizes.median
    owing = generator.random(len(rows)) < expected
    owing |= (rows.position == 0) & (rows.of_client(rows.sum(owing)) == 0)
    weights = owing * np.abs(sizes(normals(generator, len(rows))))
    return weights * rows.of_client(_ratio(means * rows.counts, rows.sum(weights)))
