"""What the gate objects to, and which clients the reference and the report name."""

import hashlib
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from benchmarks import gate as benchmarked
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import Doubles
from promotion import comparison, gate, report
from promotion.comparison import Difference
from promotion.gate import Limits
from quality.portfolio import BadReference, Portfolio
from tests import servers
from tests.conftest import FEATURES, SOMETIMES_MISSING
from tests.promotion_support import (
    compared,
    portfolio,
    sentences,
    with_change,
)

pytest_plugins = ["tests.promotion_fixtures"]


# ---- What can be told
NOT_INFERIOR: dict[str, tuple[str, float, float, float]] = {
    "a cost that falls": (comparison.COST, -0.5, -0.6, -0.4),
    "a cost that rises up to the limit": (comparison.COST, 0.001, 0.0, 0.002),
    "an AUC that rises": (comparison.AUC, 0.5, 0.4, 0.6),
    "an AUC that falls up to the limit": (comparison.AUC, -0.005, -0.01, 0.1),
    "a calibration error that falls": (comparison.CALIBRATION, -0.5, -0.6, -0.4),
    "an approval ratio that rises": (f"{comparison.APPROVAL_RATIO}sex", 0.5, 0.4, 0.6),
    "an opportunity gap that falls": (f"{comparison.OPPORTUNITY_GAP}sex", -0.5, -0.6, -0.4),
    "a share without a limit": ("grey", 0.9, 0.9, 0.9),
}


@pytest.mark.parametrize("case", NOT_INFERIOR)
def test_what_is_surely_not_worse_than_its_limit_is_no_objection(case: str, twins: Difference) -> None:
    found = gate.objections(with_change(twins, *NOT_INFERIOR[case]), Limits(clients=50))

    assert {objection.name for objection in found} <= {gate.REFERENCE}  # for want of a cost in most cases


INFERIOR: dict[str, tuple[tuple[str, float, float, float], str, str]] = {
    "dearer": (
        (comparison.COST, 0.01, 0.009, 0.011),
        gate.COST,
        "the cost per client rises by 0.0100 [0.0090, 0.0110], more than 0.002",
    ),
    "perhaps dearer": (
        (comparison.COST, -0.001, -0.004, 0.0021),
        gate.COST,
        "whether the cost per client rises by more than 0.002 cannot be told from so few clients: "
        "the change is -0.0010 [-0.0040, +0.0021]",
    ),
    "discriminating less": (
        (comparison.AUC, -0.02, -0.03, -0.011),
        gate.AUC,
        "the AUC falls by 0.0200 [0.0110, 0.0300], more than 0.01",
    ),
    "perhaps discriminating less": (
        (comparison.AUC, -0.005, -0.011, 0.001),
        gate.AUC,
        "whether the AUC falls by more than 0.01 cannot be told from so few clients: the change is "
        "-0.0050 [-0.0110, +0.0010]",
    ),
    "of an unknown AUC": (
        (comparison.AUC, np.nan, np.nan, np.nan),
        gate.AUC,
        "the AUC is not known for these clients",
    ),
    "calibrated worse": (
        (comparison.CALIBRATION, 0.006, 0.0055, 0.0065),
        gate.CALIBRATION,
        "the calibration error (ECE) rises by 0.0060 [0.0055, 0.0065], more than 0.005",
    ),
    "approving fewer of a group": (
        (f"{comparison.APPROVAL_RATIO}sex", -0.04, -0.05, -0.031),
        gate.GROUPS,
        "the approval ratio by sex falls by 0.0400 [0.0310, 0.0500], more than 0.03",
    ),
    "unequal to repayers": (
        (f"{comparison.OPPORTUNITY_GAP}age band", 0.04, 0.031, 0.05),
        gate.GROUPS,
        "the equal opportunity gap by age band rises by 0.0400 [0.0310, 0.0500], more than 0.03",
    ),
    "dearer on these clients, perhaps cheaper": (
        (comparison.COST, 0.012, -0.0017, 0.0271),
        gate.COST,
        "whether the cost per client rises by more than 0.002 cannot be told from so few clients: "
        "the change is +0.0120 [-0.0017, +0.0271]",
    ),
    "surely discriminating less, perhaps within the limit": (
        (comparison.AUC, -0.02, -0.03, -0.01),
        gate.AUC,
        "whether the AUC falls by more than 0.01 cannot be told from so few clients: the change is "
        "-0.0200 [-0.0300, -0.0100]",
    ),
    "of a figure outside of its interval": (
        (comparison.CALIBRATION, 0.004, 0.006, 0.008),
        gate.CALIBRATION,
        "whether the calibration error (ECE) rises by more than 0.005 cannot be told from so few clients: "
        "the change is +0.0040 [+0.0060, +0.0080]",
    ),
}


@pytest.mark.parametrize("case", INFERIOR)
def test_what_may_be_worse_than_its_limit_is_an_objection_with_its_name(case: str, twins: Difference) -> None:
    change, name, sentence = INFERIOR[case]

    *_, objection = gate.objections(with_change(twins, *change), Limits(clients=50))

    assert (objection.name, objection.sentence) == (name, sentence)


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((0.06, 0.055, 0.065), "the approved share rises by 0.0600 [0.0550, 0.0650], more than 0.05"),
        ((-0.06, -0.065, -0.055), "the approved share falls by 0.0600 [0.0550, 0.0650], more than 0.05"),
        (
            (0.001, -0.06, 0.04),
            "whether the approved share moves by more than 0.05 cannot be told from so few clients: "
            "the change is +0.0010 [-0.0600, +0.0400]",
        ),
        (
            (-0.0528, -0.0663, -0.0387),
            "whether the approved share moves by more than 0.05 cannot be told from so few clients: "
            "the change is -0.0528 [-0.0663, -0.0387]",
        ),
    ],
)
def test_approval_may_move_neither_up_nor_down(
    interval: tuple[float, float, float], said: str, twins: Difference
) -> None:
    moved = with_change(replace(twins, changes=[]), comparison.APPROVED, *interval)

    assert said in sentences(moved, Limits(clients=50))


def test_a_model_that_cannot_be_told_from_a_dearer_one_at_500_clients_is_not_promoted() -> None:
    """Its cost rises by 0.01 on average, five times the limit; on these clients it falls."""
    generator = np.random.default_rng(2)
    defaulted = (generator.random(500) < 0.08).astype(float)
    before, after = np.full(500, 0.1), np.where(generator.random(500) < 0.02, 0.3, 0.1)
    clients = {"CLIENT": np.arange(500.0), "TARGET": defaulted}

    difference = comparison.compare(
        benchmarked.answers(before), benchmarked.answers(after), Portfolio(clients, "", "made here", {})
    )

    assert difference.cost is not None
    assert difference.cost.difference < 0 < 0.002 < difference.cost.high
    assert gate.COST in {objection.name for objection in gate.objections(difference, Limits())}


def test_groups_are_compared_by_the_attributes_that_the_reference_has() -> None:
    """The candidate refuses women alone. With few clients nobody is called a group."""
    women = np.tile([True, False], 600)
    before, after = np.full(1_200, 0.1), np.where(women, 0.3, 0.1)
    clients = {"CLIENT": np.arange(1_200.0), "TRUE_PROBABILITY": np.full(1_200, 0.1)}
    sexes = np.where(women, "F", "M").astype(object)

    def objections(size: int) -> set[str]:
        one, other = (benchmarked.answers(found[:size]) for found in (before, after))
        columns = {name: values[:size] for name, values in clients.items()}
        reference = Portfolio(columns, "", "made here", {}, sexes[:size])
        return {one.name for one in gate.objections(comparison.compare(one, other, reference), Limits())}

    assert gate.GROUPS in objections(1_200)
    assert gate.GROUPS not in objections(100)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_sex_of_the_clients_is_read_and_is_no_column_for_a_model(tmp_path: Path, suffix: str) -> None:
    table, file = pa.table({"CODE_GENDER": ["F", "M"], "AMT_CREDIT": [1.0, 2.0]}), tmp_path / f"mine.{suffix}"
    (csv.write_csv if suffix == "csv" else parquet.write_table)(table, file)

    read = Portfolio.read(file)

    assert list(read.attributes["sex"]) == ["women", "men"]
    assert list(read.known) == ["AMT_CREDIT"]


# ---- Which clients


def test_decimals_of_a_database_are_numbers(tmp_path: Path) -> None:
    decimals = pa.table({"AMT_CREDIT": [Decimal("200000.50")], "TARGET": [Decimal(1)]})
    parquet.write_table(decimals, tmp_path / "mine.parquet")

    read = Portfolio.read(tmp_path / "mine.parquet")

    assert {name: values.tolist() for name, values in read.columns.items()} == {
        "AMT_CREDIT": [200000.5],
        "TARGET": [1.0],
    }


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ([("AMT_CREDIT", [1.0]), ("AMT_CREDIT", [2.0])], "has more than one column AMT_CREDIT"),
        ([("AMT_CREDIT", [2**53 + 1, 2]), ("AMT_ANNUITY", [1, 2])], None),
        (
            [("AMT_CREDIT", [1.0, 2.0]), ("TARGET", [0, 2**53 + 1])],
            "row 2 of the reference portfolio's column TARGET",
        ),
    ],
    ids=["twice", "a large integer of a feature", "a large integer of an outcome"],
)
def test_what_a_parquet_file_cannot_say_is_told(
    columns: list[tuple[str, list[float]]], fault: str | None, tmp_path: Path
) -> None:
    names, values = zip(*columns, strict=True)
    parquet.write_table(
        pa.Table.from_arrays([pa.array(one) for one in values], names), tmp_path / "mine.parquet"
    )

    if fault is not None:
        with pytest.raises(BadReference, match=fault):
            Portfolio.read(tmp_path / "mine.parquet")
    else:
        with pytest.raises(BadReference, match="row 1 of the reference portfolio's column AMT_CREDIT"):
            Portfolio.read(tmp_path / "mine.parquet").require(["AMT_CREDIT"])


def test_a_sex_that_is_no_text_is_not_known(tmp_path: Path) -> None:
    table = pa.table({"CODE_GENDER": [["F"], ["M"]], "AMT_CREDIT": [1.0, 2.0]})
    parquet.write_table(table, tmp_path / "mine.parquet")

    assert list(Portfolio.read(tmp_path / "mine.parquet").attributes["sex"]) == ["", ""]


def test_the_most_changed_clients_are_named_by_their_row_of_the_file(bundle: Bundle) -> None:
    """The first of 50 is left out, and one of the others changes."""
    clients = portfolio(50)
    unknown = next(name for name in FEATURES if name not in SOMETIMES_MISSING)
    clients[unknown] = np.concatenate([[np.nan], clients[unknown][1:]])
    difference = compared(bundle.scorer(), servers.with_policy(bundle, 0.5, 0.1), clients)
    place = difference.most_changed[0]

    said = report.lines(difference, Portfolio(clients, "", "x", {})).partition("label):")[2]
    row = int(said.partition(": ")[0])

    assert row == place + 2
    decided = bundle.scorer().decide_table({name: values[row - 1 : row] for name, values in clients.items()})
    assert decided["probability_class_1"][0] == difference.champion.probabilities[place]


def test_the_report_says_which_clients_and_which_kind_of_outcomes(tmp_path: Path) -> None:
    columns = {"AMT_CREDIT": [1.0], "TARGET": [0]}
    file = tmp_path / "mine.parquet"
    table = pa.table(columns).replace_schema_metadata({"origin": "loans of 2024\x1b"})
    parquet.write_table(table, file)

    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    assert report.described(Portfolio.read(file)) == (
        f"mine.parquet, sha256 {digest} (loans of 2024?), observed outcomes (TARGET)"
    )
    assert "true default probabilities (TRUE_PROBABILITY), of drawn clients" in report.described(
        Portfolio.read()
    )


def test_figures_of_observed_outcomes_lead_the_report(bundle: Bundle) -> None:
    def places(**outcome: Doubles) -> tuple[int, int]:
        clients = portfolio(50, **outcome)
        reference = Portfolio(clients, "", "made here", {})
        shown = report.lines(compared(bundle.scorer(), bundle.scorer(), clients), reference)
        return shown.index("cost per client"), shown.index("From the champion's label")

    cost, labels = places(TARGET=np.tile([0.0, 1.0], 25))
    assert cost < labels
    cost, labels = places(TRUE_PROBABILITY=np.full(50, 0.1))
    assert labels < cost


def test_an_approval_ratio_below_four_fifths_is_marked_in_the_report(twins: comparison.Difference) -> None:
    name = f"{comparison.APPROVAL_RATIO}sex"
    figures = {0.7999: True, 0.8: False}

    lines = {
        ratio: report.summary(with_change(twins, name, ratio - 0.5, -0.1, 0.1)).splitlines()[-1]
        for ratio in figures
    }

    assert {ratio: line.endswith(", below four fifths") for ratio, line in lines.items()} == figures
    assert "0.5000 -> 0.7999" in lines[0.7999]
