"""The gate of promotion: it shows and records what would change, and stops what is too much."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from mlflow import MlflowClient
from pyarrow import csv, parquet

import register
from benchmarks import gate as benchmarked
from mlflow_model.bundle import bundles
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import DecisionPolicy, Doubles, Scorer
from mlflow_model.bundle.trial import Answers
from mlflow_model.handover.card import ModelCard
from mlflow_model.registry import aliases, connection, listing, moves, registration, versions
from mlflow_model.registry.aliases import Move
from mlflow_model.registry.leases import Overtaken
from promotion import comparison, examination, gate, promoting, report
from promotion.comparison import Change, Difference
from promotion.gate import Limits
from promotion.portfolio import REFERENCE, BadReference, Portfolio
from quality import costs
from quality.costs import Costs
from tests import servers
from tests.command_line import register_py
from tests.conftest import FEATURES, SOMETIMES_MISSING, random_clients
from tests.live import policy_of

CARD = ModelCard("# Card\n")
ROOT = Path(register.__file__).parent


def champion() -> int | None:
    return listing.version_at()


def damage(store: Path, version: int) -> None:
    """Change one byte of a version's files in the registry."""
    uri = MlflowClient().get_model_version_download_uri(versions.NAME, str(version))
    (file,) = store.glob(f"mlartifacts/models/{Path(uri).parent.name}/artifacts/artifacts/bundle/policy.json")
    file.write_bytes(file.read_bytes() + b" ")


# ---- What the comparison says


def portfolio(clients: int = 400, **more: Doubles) -> dict[str, Doubles]:
    drawn = random_clients(clients, seed=8)
    return {name: drawn[name].to_numpy(float) for name in FEATURES} | more


def answers(scorer: Scorer, clients: Mapping[str, Doubles]) -> Answers:
    """A bundle's answers, put together by hand as the trial would give them."""
    policy = scorer.policy
    must = [np.isnan(clients[name]) for name in scorer.features if name not in scorer.nullable]
    accepted = ~np.any(must, axis=0)
    decided = scorer.decide_table({name: clients[name][accepted] for name in scorer.features})
    predictions, probabilities = np.full(len(accepted), "", object), np.full(len(accepted), np.nan)
    predictions[accepted] = decided["prediction"]
    probabilities[accepted] = decided["probability_class_1"]
    return Answers(
        tuple(scorer.features),
        frozenset(scorer.nullable),
        *(policy.reliable, policy.uncertain, policy.risky),
        *(policy.threshold, policy.lower_bound, policy.upper_bound),
        columns=tuple(decided),
        lacking=(),
        refusal=None,
        accepted=accepted,
        predictions=predictions,
        probabilities=probabilities,
    )


def compared(
    before: Scorer,
    after: Scorer,
    clients: Mapping[str, Doubles],
    by: Costs = costs.DEFAULT,
) -> Difference:
    reference = Portfolio(clients, "", "made here", {})
    return comparison.compare(answers(before, clients), answers(after, clients), reference, by)


def sentences(difference: Difference, limits: Limits) -> list[str]:
    return [objection.sentence for objection in gate.objections(difference, limits)]


def test_labels_and_rates_are_those_that_each_policy_gives_by_hand(bundle: Bundle) -> None:
    before, after = bundle.scorer(), servers.with_policy(bundle, 0.5, 0.1)
    clients = portfolio()
    probabilities = before.probabilities(before.matrix(clients))

    difference = compared(before, after, clients)

    risky_to_reliable = int(((probabilities > 0.27) & (probabilities < 0.4)).sum())
    assert difference.moves["Classe_1 (risqué)", "Classe_0 (fiable)"] == risky_to_reliable
    approved = next(change for change in difference.changes if change.name == "approved")
    assert approved.champion == (probabilities < 0.23).mean()
    assert approved.candidate == (probabilities < 0.4).mean()


def test_the_cost_is_that_of_defaults_lent_to_and_good_clients_refused(bundle: Bundle) -> None:
    """Two clients with known outcomes: refusing both costs only the one who would have repaid."""
    lenient, strict = servers.with_policy(bundle, 0.999, 0.0), servers.with_policy(bundle, 0.001, 0.0)
    clients = portfolio(2, TARGET=np.array([1.0, 0.0]))

    difference = compared(lenient, strict, clients, Costs(7.0, 3.0))

    assert difference.cost is not None
    assert (difference.cost.champion, difference.cost.candidate) == (7.0 / 2, 3.0 / 2)


def test_true_probabilities_go_before_outcomes(bundle: Bundle) -> None:
    lenient = servers.with_policy(bundle, 0.999, 0.0)
    clients = portfolio(2, TARGET=np.array([1.0, 1.0]), TRUE_PROBABILITY=np.array([0.1, 0.3]))

    difference = compared(lenient, lenient, clients)

    assert difference.cost is not None
    assert difference.cost.champion == pytest.approx(5 * 0.2)


def test_the_interval_of_the_cost_covers_its_difference_and_nothing_for_twins(bundle: Bundle) -> None:
    before, after = bundle.scorer(), servers.with_policy(bundle, 0.5, 0.1)
    truth = np.random.default_rng(1).random(400)
    clients = portfolio(400, TRUE_PROBABILITY=truth)

    moved, same = (compared(before, other, clients).cost for other in (after, before))

    assert moved is not None
    assert moved.low < moved.difference < moved.high
    assert same is not None
    assert (same.low, same.difference, same.high) == (0.0, 0.0, 0.0)


def test_clients_whom_a_model_cannot_take_are_left_out_and_counted(bundle: Bundle) -> None:
    clients = portfolio(50)
    unknown = next(name for name in FEATURES if name not in SOMETIMES_MISSING)
    clients[unknown] = np.concatenate([[np.nan] * 3, clients[unknown][3:]])

    difference = compared(bundle.scorer(), bundle.scorer(), clients)

    assert (difference.clients, difference.left_out) == (47, 3)


def test_a_cost_that_nobody_knows_is_an_objection(bundle: Bundle) -> None:
    difference = compared(bundle.scorer(), bundle.scorer(), portfolio(50))

    assert sentences(difference, Limits(clients=50)) == [
        "cost, discrimination and calibration are not known: the reference has neither TRUE_PROBABILITY nor "
        "TARGET"
    ]


@pytest.mark.parametrize("stated", [None, "5:1", [5, 1], {}, {"false_negative": 5.0}])
def test_costs_that_are_not_two_are_not_known(stated: object) -> None:
    assert costs.usable(stated) is None


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf"), "1", True, None])
def test_costs_that_are_no_positive_numbers_are_not_known(wrong: object) -> None:
    assert costs.usable({"false_negative": 5.0, "false_positive": wrong}) is None


def test_another_column_of_the_decision_is_an_objection(bundle: Bundle) -> None:
    clients = portfolio()
    seven = answers(bundle.scorer(), clients)
    eight = replace(seven, columns=(*seven.columns, "distance"))
    reference = Portfolio(clients, "", "made here", {})

    more, fewer = comparison.compare(seven, eight, reference), comparison.compare(eight, seven, reference)

    assert "callers would get distance too" in sentences(more, Limits())
    assert "callers would no longer get distance" in sentences(fewer, Limits())


def test_a_difference_that_is_no_number_is_beyond_every_limit(bundle: Bundle) -> None:
    clients = portfolio(50, TARGET=np.zeros(50))
    unknown = Costs(5.0, float("nan"))

    difference = compared(bundle.scorer(), bundle.scorer(), clients, unknown)

    assert sentences(difference, Limits(changed=1.0, cost_increase=float("inf"), clients=50))


def test_few_clients_are_an_objection_and_one_client_many_times_is_one(bundle: Bundle) -> None:
    drawn = portfolio(1, TRUE_PROBABILITY=np.array([0.1]))
    clients = {name: np.repeat(values, 2_000) for name, values in drawn.items()}

    difference = compared(bundle.scorer(), bundle.scorer(), clients)

    assert sentences(difference, Limits()) == ["1 different clients are compared, fewer than 1,000"]


def test_clients_left_out_are_an_objection_beyond_their_share(bundle: Bundle) -> None:
    clients = portfolio(50, TRUE_PROBABILITY=np.full(50, 0.1))
    unknown = next(name for name in FEATURES if name not in SOMETIMES_MISSING)
    clients[unknown] = np.concatenate([[np.nan] * 3, clients[unknown][3:]])

    difference = compared(bundle.scorer(), bundle.scorer(), clients)

    assert sentences(difference, Limits(clients=47)) == [
        "6.0% of the clients are left out, more than 5.0%: the champion accepts no missing value of "
        f"{unknown}; the candidate accepts no missing value of {unknown}"
    ]
    assert sentences(difference, Limits(clients=47, left_out=0.06)) == []


def test_only_the_model_that_refuses_a_missing_value_is_named_with_the_features_that_clients_lack(
    bundle: Bundle,
) -> None:
    clients = portfolio(50)
    for name, lacking in (("AMT_CREDIT", 1), ("DAYS_BIRTH", 3)):
        clients[name] = np.concatenate([[np.nan] * lacking, clients[name][lacking:]])
    strict = answers(bundle.scorer(), clients)
    lenient = replace(strict, nullable=frozenset(FEATURES))

    difference = comparison.compare(lenient, strict, Portfolio(clients, "", "made here", {}))

    assert difference.refused == (": the candidate accepts no missing value of DAYS_BIRTH, AMT_CREDIT")


def test_the_report_and_the_objection_name_the_versions_and_the_features_of_who_is_left_out(
    candidates: Path, tmp_path: Path
) -> None:
    moves.promote(2)
    columns = portfolio(50, TARGET=np.array([0.0, 1.0] * 25))
    columns["AMT_CREDIT"] = np.concatenate([[np.nan] * 3, columns["AMT_CREDIT"][3:]])
    parquet.write_table(pa.table(columns), tmp_path / "mine.parquet")

    shown = register_py("promote", "3", "--reference", str(tmp_path / "mine.parquet"), "--dry-run")

    both = (
        "version {} accepts no missing value of AMT_CREDIT; version 3 accepts no missing value of AMT_CREDIT"
    )
    assert f"3 left out for a missing value: {both.format(2)}\n" in shown.stdout
    left_out = "6.0% of the clients are left out, more than 5.0%: "
    assert f"Objection (left-out): {left_out}{both.format(2)}\n" in shown.stderr
    assert f"beside the anchor, version 1, {left_out}{both.format(1)}\n" in shown.stderr


def test_a_reference_of_which_a_version_accepts_nobody_is_refused_with_the_reason(
    candidates: Path, tmp_path: Path
) -> None:
    columns = portfolio(5, TARGET=np.zeros(5), AMT_CREDIT=np.full(5, np.nan))
    parquet.write_table(pa.table(columns), tmp_path / "mine.parquet")

    refused = register_py("promote", "2", "--reference", str(tmp_path / "mine.parquet"))

    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1] == (
        "no client of the reference portfolio is accepted by both models: version 1 accepts no missing value "
        "of AMT_CREDIT; version 2 accepts no missing value of AMT_CREDIT"
    )


def test_a_model_is_not_told_what_became_of_the_clients() -> None:
    known = Portfolio.read().known

    assert {"TARGET", "TRUE_PROBABILITY"} & set(known) == set()
    assert set(FEATURES) <= set(known)


# ---- What can be told


def with_change(difference: Difference, name: str, by: float, low: float, high: float) -> Difference:
    """The difference with one more figure, which rises by this much."""
    return replace(difference, changes=[*difference.changes, Change(name, 0.5, 0.5 + by, low, high)])


@pytest.fixture(scope="module")
def twins(bundle: Bundle) -> Difference:
    """A model beside itself, on clients of whom nothing but the approval is compared."""
    found = compared(bundle.scorer(), bundle.scorer(), portfolio(50, TRUE_PROBABILITY=np.full(50, 0.1)))
    return replace(found, changes=[change for change in found.changes if change.name == comparison.APPROVED])


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


# ---- The command


def test_a_small_change_is_promoted(candidates: Path) -> None:
    done = register_py("promote", "2", "--max-cost-increase", "9")

    assert (done.returncode, champion()) == (0, 2)
    assert "version 2 beside version 1 (champion)" in done.stdout


def test_too_large_a_change_leaves_the_champion_and_says_why(candidates: Path) -> None:
    refused = register_py("promote", "3")

    assert (refused.returncode, champion()) == (3, 1)
    assert re.search(r"Objection \(changed\): [\d.]+% of the labels change, more than 10.0%", refused.stderr)
    assert refused.stderr.splitlines()[-1].startswith("champion stays where it is")


def test_force_needs_a_reason_and_keeps_it(candidates: Path) -> None:
    without = register_py("promote", "3", "--force")
    forced = register_py("promote", "3", "--force", "--why", "the new costs")

    assert (without.returncode, forced.returncode, champion()) == (2, 0, 3)
    assert moves.history()[-1].why == "the new costs"
    assert "the new costs" in register_py("list").stdout


def test_a_dry_run_changes_and_records_nothing(candidates: Path) -> None:
    runs = len(MlflowClient().search_runs([experiment()]))

    shown = register_py("promote", "3", "--dry-run")

    assert champion() == 1
    assert "Most changed clients" in shown.stdout
    assert shown.stderr.splitlines()[-1] == "Dry run: this would refuse version 3"
    assert len(MlflowClient().search_runs([experiment()])) == runs


@pytest.mark.parametrize(
    ("version", "arguments", "code", "said"),
    [
        ("2", ["--max-cost-increase", "9"], 0, "Dry run: this would promote version 2"),
        ("3", [], 3, "Dry run: this would refuse version 3"),
        ("3", ["--force", "--why", "x"], 0, "Dry run: this would promote version 3"),
    ],
)
def test_a_dry_run_ends_as_the_promotion_would(
    candidates: Path, version: str, arguments: list[str], code: int, said: str
) -> None:
    dry = register_py("promote", version, *arguments, "--dry-run")
    real = register_py("promote", version, *arguments)

    assert (dry.returncode, real.returncode) == (code, code)
    assert dry.stderr.splitlines()[-1] == said


def experiment() -> str:
    found = MlflowClient().get_experiment_by_name(connection.EXPERIMENT)
    assert found is not None
    return str(found.experiment_id)


@pytest.mark.parametrize(
    ("version", "arguments", "outcome"),
    [("2", ["--max-cost-increase", "9"], "promoted"), ("3", [], "refused")],
)
def test_the_report_is_a_run_that_the_version_names(
    candidates: Path, version: str, arguments: list[str], outcome: str
) -> None:
    register_py("promote", version, *arguments)

    client = MlflowClient()
    run = client.get_run(client.get_model_version(versions.NAME, version).tags["examination.run"])
    artifacts = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert run.data.tags["outcome"] == outcome
    assert {"decision_diff.json", "decision_diff.png", "decision_diff.txt"} <= artifacts
    assert "changed" in run.data.metrics


def test_a_reference_of_ones_own_may_be_csv(candidates: Path, tmp_path: Path) -> None:
    columns = portfolio(30, TARGET=np.array([0.0, 1.0] * 15))
    csv.write_csv(pa.table(columns), tmp_path / "mine.csv")

    done = register_py(
        "promote", "2", "--reference", str(tmp_path / "mine.csv"), "--max-changed", "1", "--min-clients", "30"
    )

    assert done.returncode == 0
    assert "30 reference clients" in done.stdout


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_csv_of_a_french_spreadsheet_is_the_same_reference(tmp_path: Path, delimiter: str) -> None:
    """Decimal commas, a byte order mark, a declared delimiter, empty columns and lines at the end."""
    columns = portfolio(30, TARGET=np.array([0.0, 1.0] * 15))
    cells = [
        ["" if np.isnan(value) else str(value).replace(".", ",") for value in row]
        for row in zip(*columns.values(), strict=True)
    ]
    lines = [delimiter.join([*row, "", ""]) for row in [list(columns), *cells, [""] * len(columns)]]
    (tmp_path / "mine.csv").write_text(
        f"sep={delimiter}\r\n" + "\r\n".join([*lines, "", ""]), encoding="utf-8-sig", newline=""
    )

    read = Portfolio.read(tmp_path / "mine.csv")

    assert list(read.columns) == list(columns)
    for name, values in columns.items():
        np.testing.assert_array_equal(read.columns[name], values)


NO_NUMBERS = ["0x10", "true", "1_000", "1e", " 1", "+1", "1.", "9007199254740993", "1e999", "None"]


@pytest.mark.parametrize("cell", NO_NUMBERS)
def test_a_cell_of_a_csv_that_is_no_number_is_told_where_its_column_is_needed(
    cell: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.csv"
    file.write_text(f"AMT_CREDIT,DAYS_BIRTH,TARGET\n1,2,0\n{cell},,1\n")

    read = Portfolio.read(file)

    assert read.known["DAYS_BIRTH"].tolist()[0] == 2.0
    read.require(["DAYS_BIRTH"])
    with pytest.raises(BadReference, match="row 2 of the reference portfolio's column AMT_CREDIT"):
        read.require(["AMT_CREDIT"])


def test_an_outcome_that_is_no_number_does_not_give_way_to_another(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("AMT_CREDIT,TRUE_PROBABILITY,TARGET\n1,0.5,0\n2,half,1\n")

    with pytest.raises(BadReference, match="row 2 of the reference portfolio's column TRUE_PROBABILITY"):
        Portfolio.read(file)


def test_a_column_of_texts_is_no_column_of_the_portfolio(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("NAME,AMT_CREDIT\nx,1\ny,2\n")

    assert list(Portfolio.read(file).columns) == ["AMT_CREDIT"]


def test_a_feature_that_no_client_of_a_csv_has_is_missing_for_all(candidates: Path, tmp_path: Path) -> None:
    """A CSV column without any value has the type null."""
    columns = portfolio(30, TARGET=np.zeros(30))
    empty = pa.table(columns | {"EXT_SOURCE_1": pa.nulls(30)})
    csv.write_csv(empty, tmp_path / "mine.csv")

    shown = register_py("promote", "2", "--reference", str(tmp_path / "mine.csv"), "--dry-run")

    assert "30 reference clients" in shown.stdout


def test_one_client_is_no_reference(candidates: Path, tmp_path: Path) -> None:
    parquet.write_table(pa.table(portfolio(1, TARGET=np.zeros(1))), tmp_path / "one.parquet")

    refused = register_py("promote", "2", "--reference", str(tmp_path / "one.parquet"))

    assert (refused.returncode, champion()) == (3, 1)
    assert "Objection (clients): 1 different clients are compared, fewer than 1,000" in refused.stderr


def test_the_reference_and_the_operator_are_recorded_and_a_changed_reference_is_shown(
    candidates: Path, tmp_path: Path
) -> None:
    columns = portfolio(30, TARGET=np.array([0.0, 1.0] * 15))
    mine = tmp_path / "mine.parquet"
    parquet.write_table(pa.table(columns), mine)
    few = ("--min-clients", "30", "--max-changed", "1", "--reference", str(mine))

    register_py("--by", "Ada Lovelace", "promote", "2", *few)
    parquet.write_table(pa.table(columns | {"TARGET": np.zeros(30)}), mine)
    shown = register_py("promote", "1", "--dry-run", *few)

    client, digest = MlflowClient(), moves.history()[-1].portfolio
    run = client.get_run(client.get_model_version(versions.NAME, "2").tags["examination.run"])
    assert digest is not None
    assert (run.data.tags["reference.sha256"], run.data.tags["by"]) == (digest, "Ada Lovelace")
    assert moves.history()[-1].by == "Ada Lovelace"
    assert "Ada Lovelace" in register_py("list").stdout
    now = hashlib.sha256(mine.read_bytes()).hexdigest()
    assert (
        f"another reference than at the last promotion: sha256 {digest[:12]} then, {now[:12]} now"
        in shown.stdout
    )


def test_the_candidate_s_code_runs_in_no_process_of_the_operator(registered: Path, bundle: Bundle) -> None:
    import builtins

    code = b"\nimport builtins\nbuiltins.CANDIDATE_WAS_HERE = True\n"
    registration.register(policy_of(bundle, 0.251, more_code=code), CARD)
    del builtins.CANDIDATE_WAS_HERE  # type: ignore[attr-defined]  # building the bundle has run it here

    shown = register_py("promote", "2", "--dry-run")

    assert "version 2 beside version 1" in shown.stdout
    assert not hasattr(builtins, "CANDIDATE_WAS_HERE")


def test_a_candidate_that_ends_its_process_is_refused_in_one_sentence(
    registered: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAY_LIVE", "yes")  # True only while the bundle is built
    deadly = b"\nimport os\nif 'MAY_LIVE' not in os.environ: os._exit(9)\n"
    registration.register(policy_of(bundle, 0.251, more_code=deadly), CARD)
    monkeypatch.delenv("MAY_LIVE")

    refused = register_py("promote", "2")

    assert (refused.returncode, champion()) == (2, 1)
    assert "la version arrête le processus qui la charge" in refused.stderr.splitlines()[-1]


def test_what_a_tag_holds_does_not_write_to_the_terminal(candidates: Path) -> None:
    client = connection.connect()
    client.set_model_version_tag(versions.NAME, "1", "policy.margin", "\x1b[2J0.02")
    key = "history.champion.000009-abcdef"
    move = {
        "from": 1,
        "version": 2,
        "how": "\x1b]0;x\x07",
        "why": "a\nb",
        "time": "2026-01-01T00:00:00+00:00",
    }
    client.set_registered_model_tag(versions.NAME, key, json.dumps(move))
    client.set_registered_model_alias(versions.NAME, "champion", "2")

    shown = register_py("list").stdout

    assert "?[2J0.02" in shown
    assert shown.replace("\n", "").isprintable()


# ---- Somebody else at the same moment


def examined(version: int) -> examination.Examination:
    everything = Limits(1.0, float("inf"), 1, 1.0)
    return examination.examine(
        version, name=versions.NAME, alias="champion", reference_file=REFERENCE, limits=everything
    )


def outcome_of(version: int) -> str:
    client = MlflowClient()
    run = client.get_run(client.get_model_version(versions.NAME, str(version)).tags["examination.run"])
    return str(run.data.tags["outcome"])


def test_of_two_promotions_that_examined_the_same_champion_one_is_made(candidates: Path) -> None:
    first, second = examined(2), examined(3)
    promoting.promote(first, None)

    with pytest.raises(Overtaken, match="champion of scoring-client names version 2 by now: compare with"):
        promoting.promote(second, None)

    assert (champion(), outcome_of(2), outcome_of(3)) == (2, "promoted", "overtaken")
    assert [term.version for term in moves.history()] == [1, 2]


def test_two_promotions_at_once_say_what_is_true(candidates: Path) -> None:
    both = [examined(2), examined(3)]
    at_once = threading.Barrier(2)

    def promoted(one: examination.Examination) -> bool:
        at_once.wait()
        try:
            promoting.promote(one, None)
        except Overtaken:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(promoted, both))

    assert sorted(said) == [False, True]
    assert champion() == (2 if said[0] else 3)


@pytest.mark.parametrize("version", [1, 2])
def test_a_version_that_was_exchanged_after_its_examination_is_not_promoted(
    candidates: Path, version: int
) -> None:
    found = examined(2)
    client = connection.connect()
    client.set_model_version_tag(versions.NAME, str(version), "bundle.sha256", "0" * 64)

    with pytest.raises(Overtaken, match=f"version {version} of scoring-client was exchanged meanwhile"):
        promoting.promote(found, None)

    assert champion() == 1


def test_a_command_that_was_overtaken_changes_nothing_and_says_so(
    candidates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody moves the alias after the two versions were compared and before it is moved."""
    look = examination.examine

    def slow(number: int, **more: Any) -> examination.Examination:
        found = look(number, **more)
        moves.promote(3)
        return found

    monkeypatch.setattr(examination, "examine", slow)

    refused = register_py("promote", "2", "--max-cost-increase", "9")

    assert (refused.returncode, champion()) == (2, 3)
    assert refused.stderr.splitlines()[-1] == (
        "champion of scoring-client names version 3 by now: compare with that one"
    )


def test_a_rollback_beside_a_promotion_does_not_return_from_what_it_has_not_seen(
    candidates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves.promote(2)
    lease = moves.lease

    def late(*arguments: Any) -> Any:
        monkeypatch.setattr(moves, "lease", lease)
        moves.promote(3)
        return lease(*arguments)

    monkeypatch.setattr(moves, "lease", late)

    with pytest.raises(Overtaken, match="champion has been moved meanwhile"):
        moves.rollback()
    assert champion() == 3


def test_an_alias_that_others_move_at_the_same_moment_is_not_said_to_be_ours(candidates: Path) -> None:
    """Somebody outside this project moves the alias, without taking the lease."""

    class Beside:
        def __init__(self) -> None:
            self._client = connection.connect()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._client, name)

        def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
            self._client.set_registered_model_alias(name, alias, version)
            self._client.set_registered_model_alias(name, alias, "3")

    with pytest.raises(Overtaken, match="was moved by others at the same moment: it names version 3"):
        aliases.move(Beside(), versions.NAME, "champion", Move(2, aliases.PROMOTION))


def test_two_first_registrations_at_once_make_one_champion_and_one_candidate(
    store: Path, bundle: Bundle
) -> None:
    bundles_at_once = [bundle, policy_of(bundle, 0.3)]

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda one: registration.register(one, CARD), bundles_at_once))

    by_alias = {one.alias: one.number for one in done}
    assert sorted(by_alias) == ["candidate", "champion"]
    assert (listing.version_at(), listing.version_at(alias="candidate")) == (
        by_alias["champion"],
        by_alias["candidate"],
    )


def _table(**more: Any) -> pa.Table:
    return pa.table(portfolio(4) | more)


def _csv(*lines: bytes) -> Callable[[Path], object]:
    return lambda file: file.with_suffix(".csv").write_bytes(b"\n".join(lines) + b"\n")


def _sparse(file: Path, size: int) -> None:
    with file.open("wb") as content:
        content.truncate(size)


UNREADABLE, NO_OUTCOME = "cannot be read as a portfolio", "must be a number from 0 to 1"
UNEVEN = "row 2 of bad.csv has not as many cells as its header"
NO_NUMBER = "row 1 of the reference portfolio's column TARGET holds no number"
BAD_REFERENCES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "absent": ("parquet", lambda _: None, "is not there"),
    "no table": ("parquet", lambda file: file.write_bytes(b"PAR1 nothing"), UNREADABLE),
    "no file": ("parquet", lambda file: file.mkdir(), UNREADABLE),
    "a pipe": ("parquet", lambda file: os.mkfifo(file), UNREADABLE),
    "a device": ("parquet", lambda file: file.symlink_to("/dev/zero"), UNREADABLE),
    "endless": ("parquet", lambda file: _sparse(file, 2**35), "is larger than 256 MiB"),
    "empty": ("parquet", lambda file: parquet.write_table(_table()[:0], file), "has no clients"),
    "other columns": (
        "parquet",
        lambda file: parquet.write_table(pa.table({"x": [0.0]}), file),
        "lacks AMT_ANNUITY",
    ),
    "a column twice": (
        "parquet",
        lambda file: parquet.write_table(_table().append_column("DAYS_BIRTH", pa.nulls(4)), file),
        "has more than one column DAYS_BIRTH",
    ),
    "an integer that no double equals": (
        "parquet",
        lambda file: parquet.write_table(_table(TARGET=[2**53 + 1, 0, 0, 0]), file),
        "row 1 of the reference portfolio's column TARGET holds no number",
    ),
    "an outcome missing": (
        "parquet",
        lambda file: parquet.write_table(_table(TARGET=[0, 1, None, 0]), file),
        f"TARGET {NO_OUTCOME} for every client of the reference portfolio; for 1 of 4 it is not",
    ),
    "a probability that is none": (
        "parquet",
        lambda file: parquet.write_table(_table(TRUE_PROBABILITY=[0.5, float("inf"), -0.1, 1.1]), file),
        f"TRUE_PROBABILITY {NO_OUTCOME} for every client of the reference portfolio; for 3 of 4 it is not",
    ),
    "empty CSV": ("csv", lambda file: file.write_bytes(b""), UNREADABLE),
    "a CSV's column twice": (
        "csv",
        _csv(b"AMT_CREDIT,AMT_CREDIT", b"1,2"),
        "has more than one column AMT_CREDIT",
    ),
    "a CSV's header in Latin-1": ("csv", _csv("AMT_CREDIT,âge".encode("latin-1"), b"1,2"), UNREADABLE),
    "a CSV's row too long": ("csv", _csv(b"AMT_CREDIT,TARGET", b"1,0", b"1,2,3"), UNEVEN),
    "a CSV's row too short": ("csv", _csv(b"AMT_CREDIT,TARGET", b"1,0", b"2"), UNEVEN),
    "an empty row in a CSV": ("csv", _csv(b"AMT_CREDIT,TARGET", b"1,0", b"", b"2,0"), UNEVEN),
    "a CSV's header alone": ("csv", _csv(b"AMT_CREDIT,TARGET"), "bad.csv has no clients"),
    "an outcome in words": ("csv", _csv(b"AMT_CREDIT,TARGET", b"1,True", b"2,False"), NO_NUMBER),
    "an outcome with a blank": ("csv", _csv(b"AMT_CREDIT,TARGET", b"1, 0", b"2, 1"), NO_NUMBER),
    "an outcome as texts": (
        "parquet",
        lambda file: parquet.write_table(_table(TARGET=["0", "1", "0", "0"]), file),
        NO_NUMBER,
    ),
    "a CSV of outcomes alone": (
        "csv",
        _csv(b"TARGET,TRUE_PROBABILITY", b"1,0.5"),
        "has no features, only TARGET, TRUE_PROBABILITY",
    ),
    "a CSV with bars": ("csv", _csv(b"AMT_CREDIT|TARGET", b"1|0"), "has no clients"),
    "thousands with points": (
        "csv",
        _csv(b"AMT_CREDIT;TARGET", b"200.000,5;0"),
        "has no features, only TARGET",
    ),
}


@pytest.mark.parametrize("bad", BAD_REFERENCES)
def test_a_bad_reference_is_one_sentence_and_promotes_nothing(
    candidates: Path, tmp_path: Path, bad: str
) -> None:
    suffix, make, sentence = BAD_REFERENCES[bad]
    file = tmp_path / f"bad.{suffix}"
    make(file)

    refused = register_py("promote", "2", "--max-changed", "1", "--reference", str(file))

    assert (refused.returncode, champion()) == (2, 1)
    assert sentence in refused.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--max-changed", "nan", "a share is a number from 0 to 1, not 'nan'"),
        ("--max-changed", "-0.1", "a share is a number from 0 to 1, not '-0.1'"),
        ("--max-changed", "10", "a share is a number from 0 to 1, not '10'"),
        ("--max-cost-increase", "nan", "a cost is a number of 0 or more, not 'nan'"),
        ("--max-cost-increase", "-1", "a cost is a number of 0 or more, not '-1'"),
        ("--max-cost-increase", "much", "a cost is a number of 0 or more, not 'much'"),
        ("--why", "x" * 1_001, "a reason is plain text of at most 1,000 characters"),
        ("--why", "\udcff", "a reason is plain text of at most 1,000 characters"),
    ],
)
def test_a_limit_or_reason_that_is_none_is_refused_before_anything_is_done(
    candidates: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, sentence: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        register.main(["promote", "3", "--force", option, value])

    assert capsys.readouterr().err.splitlines()[-1].endswith(sentence)
    assert champion() == 1


def test_a_long_reason_is_kept_on_one_line(candidates: Path) -> None:
    why = "é\n" * 500

    forced = register_py("promote", "3", "--force", "--why", why, "--max-cost-increase", "inf")

    assert (forced.returncode, champion()) == (0, 3)
    assert moves.history()[-1].why == " ".join("é" * 500)


# ---- A champion that cannot be loaded


def test_a_damaged_champion_is_an_objection(candidates: Path) -> None:
    damage(candidates, 1)

    refused = register_py("promote", "2")

    assert (refused.returncode, champion()) == (3, 1)
    assert "Objection (champion): the champion, version 1, cannot be loaded" in refused.stderr


def test_a_damaged_champion_can_be_replaced_with_a_word_which_is_recorded(candidates: Path) -> None:
    damage(candidates, 1)

    forced = register_py("promote", "2", "--force", "--why", "the disk was damaged")

    client = MlflowClient()
    run = client.get_run(client.get_model_version(versions.NAME, "2").tags["examination.run"])
    assert (forced.returncode, champion()) == (0, 2)
    assert (run.data.tags["outcome"], run.data.tags["why"]) == ("forced", "the disk was damaged")
    assert run.data.tags["objections"].startswith("champion: the champion, version 1, cannot be loaded")


# ---- An anchor


def test_small_steps_do_not_lead_far_from_the_first_champion(
    registered: Path, bundle: Bundle, tmp_path: Path
) -> None:
    """Each step changes a tenth of the labels at the most, and the second one is too far from the first."""
    first, clients = bundle.scorer(), portfolio(4_000, TRUE_PROBABILITY=np.full(4_000, 0.25))
    parquet.write_table(pa.table(clients), tmp_path / "mine.parquet")
    found = np.sort(first.probabilities(first.matrix(clients)))
    place = int(np.searchsorted(found, first.policy.threshold))
    for step in (140, 280):  # clients more who are approved
        registration.register(policy_of(bundle, float(found[place + step])), CARD, alias="candidate")
    options = ["--max-cost-increase", "inf", "--max-group-change", "1"]
    options += ["--reference", str(tmp_path / "mine.parquet")]

    one, two = (register_py("promote", number, *options) for number in ("2", "3"))

    assert (one.returncode, two.returncode, champion()) == (0, 3, 2)
    assert "Beside the anchor" not in one.stdout
    assert "Beside the anchor, version 1:" in two.stdout
    (objection,) = [line for line in two.stderr.splitlines() if line.startswith("Objection")]
    assert objection.startswith(
        "Objection (anchor-approval): beside the anchor, version 1, the approved share rises by 0.0"
    )


def test_the_anchor_is_the_version_that_is_named(candidates: Path) -> None:
    moves.promote(2)

    shown = register_py("promote", "1", "--anchor", "3", "--dry-run")

    assert "Beside the anchor, version 3:" in shown.stdout
    assert "Objection (anchor-changed): beside the anchor, version 3, " in shown.stderr


def test_an_anchor_that_was_never_registered_is_refused_before_any_work(candidates: Path) -> None:
    refused = register_py("promote", "2", "--anchor", "9")

    assert (refused.returncode, refused.stdout, champion()) == (2, "", 1)
    assert "9" in refused.stderr.splitlines()[-1]


def test_the_first_champion_that_comes_back_has_no_other_anchor(candidates: Path) -> None:
    moves.promote(2)

    register_py("promote", "1")

    assert (run_of(1).tags["champion"], run_of(1).tags["anchor"]) == ("2", "1")


@pytest.mark.parametrize("anchor", ["2", "3"])
def test_an_anchor_that_is_champion_or_candidate_is_compared_with_once(candidates: Path, anchor: str) -> None:
    moves.promote(2)

    shown = register_py("promote", "3", "--anchor", anchor, "--dry-run")

    assert "version 3 beside version 2" in shown.stdout
    assert "anchor" not in shown.stdout + shown.stderr


def test_more_labels_may_change_beside_the_anchor(twins: Difference) -> None:
    reliable, _, risky = twins.labels
    moved = replace(twins, moves={(reliable, reliable): 43, (reliable, risky): 7}, changes=[])

    names = {one.name for one in gate.objections(moved, Limits())}
    beside = {one.name for one in gate.objections_to_drift(moved, Limits(), "1")}

    assert gate.CHANGED in names
    assert f"anchor-{gate.CHANGED}" not in beside
    assert beside <= {*gate.NAMES}


def test_what_the_portfolio_lacks_is_said_once(twins: Difference) -> None:
    unknown = replace(twins, changes=[], left_out=50)

    names = {one.name for one in gate.objections(unknown, Limits())}
    beside = {one.name for one in gate.objections_to_drift(unknown, Limits(), "1")}

    assert names == {gate.CLIENTS, gate.REFERENCE, gate.LEFT_OUT}
    assert beside == {f"anchor-{gate.LEFT_OUT}"}  # others may be left out beside the anchor


@pytest.mark.parametrize("anchor", ["damaged", "gone"])
def test_an_anchor_that_cannot_be_loaded_is_an_objection(candidates: Path, anchor: str) -> None:
    moves.promote(2)
    if anchor == "damaged":
        damage(candidates, 1)
    else:
        connection.connect().delete_model_version(versions.NAME, "1")
    everything = ("--max-cost-increase", "inf", "--max-changed", "1", "--max-approval-change", "1")

    refused = register_py("promote", "3", *everything, "--max-group-change", "1")
    forced = register_py("promote", "3", "--force", "--why", "it is gone")

    assert (refused.returncode, forced.returncode, champion()) == (3, 0, 3)
    assert "Objection (anchor): the anchor, version 1, cannot be compared with (" in refused.stderr
    assert "; --anchor names another" in refused.stderr


def test_an_anchor_that_is_exchanged_meanwhile_stops_the_promotion(candidates: Path) -> None:
    moves.promote(2)
    found = examined(3)
    connection.connect().set_model_version_tag(versions.NAME, "1", "bundle.sha256", "0" * 64)

    with pytest.raises(Overtaken, match="version 1 of scoring-client was exchanged meanwhile"):
        promoting.promote(found, None)


# ---- Overrides by name


def run_of(version: int) -> Any:
    client = MlflowClient()
    return client.get_run(client.get_model_version(versions.NAME, str(version)).tags["examination.run"]).data


def names_of(told: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r"^Objection \((.+?)\): ", told, re.MULTILINE)))


def test_only_the_named_objections_are_overridden(candidates: Path) -> None:
    names = names_of(register_py("promote", "3", "--dry-run").stderr)
    first, *others = names

    some = register_py("promote", "3", "--force", first, "--why", "the new costs")
    assert (some.returncode, champion()) == (3, 1)
    assert f"since --force does not name {', '.join(others)}; --force {','.join(names)}" in some.stderr
    assert run_of(3).tags["overridden"] == "none"

    every = register_py("promote", "3", "--force", ",".join(names), "--why", "the new costs")
    assert (every.returncode, champion()) == (0, 3)
    assert (run_of(3).tags["overridden"], run_of(3).tags["outcome"]) == (", ".join(names), "forced")
    assert moves.history()[-1].overridden == ", ".join(names)
    assert ", ".join(names) in register_py("list").stdout


def test_force_without_names_overrides_all_and_is_recorded_as_that(candidates: Path) -> None:
    names = names_of(register_py("promote", "3", "--dry-run").stderr)

    register_py("promote", "3", "--force", "--why", "the new costs")

    assert moves.history()[-1].overridden == f"all: {', '.join(names)}" == run_of(3).tags["overridden"]


def test_what_was_not_objected_to_was_not_overridden(candidates: Path) -> None:
    done = register_py("promote", "2", "--max-cost-increase", "9", "--force", "--why", "to be sure")

    assert done.returncode == 0
    assert run_of(2).tags["outcome"] == "promoted"
    assert moves.history()[-1].overridden == "limits: cost_increase 9" == run_of(2).tags["limits"]


def test_limits_that_let_everything_pass_are_kept(candidates: Path) -> None:
    everything = ("--max-changed", "1", "--max-cost-increase", "inf", "--max-approval-change", "1")

    register_py("promote", "3", *everything, "--max-group-change", "1", "--force", "auc", "--why", "x")

    kept = "limits: changed 1, cost_increase inf, approval 1, groups 1"
    assert str(moves.history()[-1].overridden).endswith(kept)
    assert kept in register_py("list").stdout
    assert run_of(3).tags["limits"] == kept


@pytest.mark.parametrize(
    ("arguments", "unknown"), [(("3", "--force", "costly,auc"), "'costly'"), (("--force", "3"), "'3'")]
)
def test_a_name_of_no_objection_is_refused_with_the_names(
    arguments: tuple[str, ...], unknown: str, candidates: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        register.main(["promote", *arguments, "--why", "x"])

    told = capsys.readouterr().err
    assert f"no objection is called {unknown}; their names are clients, left-out, reference, changed" in told


def test_the_run_says_of_which_clients_its_figures_are(candidates: Path) -> None:
    moves.promote(2)

    register_py("promote", "3")

    tags, metrics = run_of(3).tags, run_of(3).metrics
    assert (tags["champion"], tags["anchor"]) == ("2", "1")
    assert tags["reference.origin"] == report.described(Portfolio.read())
    assert {"AUC", "calibration_error_ECE", "cost_per_client", "anchor_cost_per_client"} <= {*metrics}


def test_the_command_line_does_not_wait_for_the_libraries_of_tables() -> None:
    code = "import register, sys; print({'pandas', 'ibis'} & {*sys.modules})"

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, text=True, check=True)

    assert said.stdout == "set()\n"


# ---- The costs


def with_costs(bundle: Bundle, costs: object, threshold: float = 0.26) -> Bundle:
    text, policy = bundle.files["model.txt"].decode(), DecisionPolicy(threshold, 0.02)
    return bundles.build(text, FEATURES, policy, source=bundle.source, provenance={"costs": costs})


LENIENT = {"false_negative": 0.0, "false_positive": 1.0}


@pytest.mark.parametrize(
    ("costs", "sentence"),
    [
        (LENIENT, '{"false_negative": 0.0, "false_positive": 1.0}, not 4:1'),
        ({"false_negative": 5.0}, '{"false_negative": 5.0}, not 4:1'),
        ({"false_negative": 5.0, "false_positive": 1.0}, "5:1, not 4:1"),
    ],
)
def test_a_candidate_made_for_other_costs_than_the_champion_s_needs_a_word(
    store: Path, bundle: Bundle, costs: object, sentence: str
) -> None:
    four = {"false_negative": 4.0, "false_positive": 1.0}
    registration.register(with_costs(bundle, four), CARD)
    registration.register(with_costs(bundle, costs, 0.261), CARD, alias="candidate")

    refused = register_py("promote", "2", "--max-cost-increase", "inf", "--max-changed", "1")

    assert (refused.returncode, champion()) == (3, 1)
    assert f"Objection (costs): the candidate was made for the costs {sentence}" in refused.stderr


def test_the_candidate_s_own_costs_do_not_hide_what_it_costs(
    store: Path, tmp_path: Path, bundle: Bundle
) -> None:
    """By the candidate's own costs, lending to everybody would cost nothing."""
    registration.register(with_costs(bundle, None), CARD)
    registration.register(with_costs(bundle, LENIENT, threshold=0.9), CARD, alias="candidate")

    parquet.write_table(pa.table(portfolio(100, TARGET=np.ones(100))), tmp_path / "defaults.parquet")

    refused = register_py(
        "promote", "2", "--max-changed", "1", "--reference", str(tmp_path / "defaults.parquet")
    )

    assert (refused.returncode, champion()) == (3, 1)
    assert "Objection (cost): the cost per client rises by" in refused.stderr


@pytest.mark.parametrize("costs", [None, {"false_negative": 5.0, "false_positive": 1.0}])
def test_without_costs_of_the_champion_five_to_one_is_the_yardstick(
    store: Path, bundle: Bundle, costs: object
) -> None:
    registration.register(with_costs(bundle, LENIENT), CARD)
    registration.register(with_costs(bundle, costs, 0.261), CARD, alias="candidate")

    done = register_py("promote", "2", "--max-cost-increase", "inf", "--max-changed", "1")

    assert (done.returncode, champion()) == (0, 2)


# ---- The history


def test_the_history_tells_who_was_champion_from_when_to_when(candidates: Path) -> None:
    moves.promote(2)
    moves.promote(3)
    moves.rollback()

    terms = moves.history()

    assert [term.version for term in terms] == [1, 2, 3, 2]
    assert [term.how for term in terms] == ["registration", "promotion", "promotion", "rollback"]
    assert [term.until for term in terms] == [*(term.since for term in terms[1:]), None]


def test_a_move_by_other_hands_is_seen_and_can_be_rolled_back(candidates: Path) -> None:
    connection.connect().set_registered_model_alias(versions.NAME, "champion", "3")

    assert moves.history()[-1].how == "moved elsewhere"
    assert moves.rollback() == 1


def test_a_rollback_to_a_damaged_version_is_refused_with_the_way_out(candidates: Path) -> None:
    moves.promote(2)
    damage(candidates, 1)

    refused = register_py("rollback")

    assert (refused.returncode, champion()) == (2, 2)
    assert refused.stderr == (
        "Version 1 of scoring-client cannot return: python register.py promote chooses another.\n"
        "Erreur lors du chargement du modèle : l’empreinte de 'policy.json' ne correspond pas au manifeste ; "
        "réenregistrez le modèle avec « python register.py »\n"
    )


def test_a_rollback_passes_over_a_version_that_is_gone(candidates: Path) -> None:
    moves.promote(2)
    moves.promote(3)
    connection.connect().delete_model_version(versions.NAME, "2")

    assert moves.rollback() == 1


def test_a_move_by_other_hands_between_two_of_ours_is_part_of_the_history(candidates: Path) -> None:
    connection.connect().set_registered_model_alias(versions.NAME, "champion", "2")
    moves.promote(3)

    told = [(term.version, term.how) for term in moves.history()]
    assert told == [(1, "registration"), (2, "moved elsewhere"), (3, "promotion")]
    assert moves.rollback() == 2


class Cut(Exception):
    """Stands for the end of the process."""


class Dying:
    """A client of the registry. Its process ends at a given call."""

    def __init__(self, last: str) -> None:
        self._client, self._last = connection.connect(), last

    def __getattr__(self, name: str) -> Any:
        if name == self._last:
            raise Cut
        return getattr(self._client, name)


@pytest.mark.parametrize("last", ["set_registered_model_tag", "set_registered_model_alias"])
def test_a_promotion_that_is_cut_off_leaves_the_champion_and_its_history(candidates: Path, last: str) -> None:
    with pytest.raises(Cut):
        aliases.move(Dying(last), versions.NAME, "champion", Move(2, aliases.PROMOTION))

    assert (champion(), [term.version for term in moves.history()]) == (1, [1])
    moves.promote(3)
    assert [term.version for term in moves.history()] == [1, 3]
    assert moves.rollback() == 1


def test_a_promotion_that_was_cut_off_can_be_done_again(candidates: Path) -> None:
    with pytest.raises(Cut):
        aliases.move(
            Dying("set_registered_model_alias"), versions.NAME, "champion", Move(2, aliases.PROMOTION)
        )

    moves.promote(2)

    assert [term.version for term in moves.history()] == [1, 2]
    assert moves.rollback() == 1


def test_a_clock_that_goes_back_changes_no_order(candidates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Earlier(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) - timedelta(hours=1)

    moves.promote(2)
    monkeypatch.setattr(aliases, "datetime", Earlier)
    moves.promote(3)

    assert [term.version for term in moves.history()] == [1, 2, 3]
    assert moves.rollback() == 2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("note", "hello"),
        ("older.000009-abcdef", "{}"),
        ("000009-abcdef", "hello"),
        ("000009-abcdef", "[]"),
        ("000009-abcdef", '{"from": 2, "version": null, "why": null}'),
    ],
)
def test_a_tag_of_other_hands_is_no_part_of_the_history(candidates: Path, key: str, value: str) -> None:
    moves.promote(2)
    connection.connect().set_registered_model_tag(versions.NAME, f"history.champion.{key}", value)

    assert register_py("list").returncode == 0
    assert [term.version for term in moves.history()] == [1, 2]
    assert register_py("rollback").returncode == 0
    assert champion() == 1


RACES: dict[str, tuple[list[tuple[int | None, int]], int, list[tuple[int, str]]]] = {
    "both wrote, then the first moved last": (
        [(None, 1), (1, 2), (1, 3)],
        2,
        [(1, "promotion"), (2, "promotion")],
    ),
    "both wrote, then the second moved last": (
        [(None, 1), (1, 2), (1, 3)],
        3,
        [(1, "promotion"), (3, "promotion")],
    ),
    "neither has moved yet": ([(None, 1), (1, 2), (1, 3)], 1, [(1, "promotion")]),
    "the winner of a race was followed": (
        [(None, 1), (1, 2), (1, 3), (2, 4)],
        4,
        [(1, "promotion"), (2, "promotion"), (4, "promotion")],
    ),
    "other hands came after a race": (
        [(None, 1), (1, 2), (1, 3)],
        4,
        [(1, "promotion"), (3, "promotion"), (4, "moved elsewhere")],
    ),
    "the model had an alias before us": ([(7, 8)], 8, [(7, "moved elsewhere"), (8, "promotion")]),
}


class Written:
    """A registry with these moves, all recorded under one sequence number, and an alias."""

    def __init__(self, moves: list[tuple[int | None, int]], current: int) -> None:
        self.aliases = {"champion": str(current)}
        self.tags = {
            f"history.champion.{number:06d}-abcdef": json.dumps(
                {
                    "from": origin,
                    "version": version,
                    "how": "promotion",
                    "why": None,
                    "time": datetime.now(UTC).isoformat(),
                }
            )
            for number, (origin, version) in enumerate(moves, 1)
        }

    def get_registered_model(self, name: str) -> "Written":
        return self


@pytest.mark.parametrize("race", RACES)
def test_a_race_reads_as_what_the_alias_named(race: str) -> None:
    moves, current, told = RACES[race]

    terms = aliases.history(Written(moves, current), "scoring-client", "champion")

    assert [(term.version, term.how) for term in terms] == told


def test_promotions_at_once_leave_one_champion_and_a_history_that_can_be_read(candidates: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(moves.promote, (2, 3, 2, 3)))

    assert champion() in (2, 3)
    told = [term.version for term in moves.history()]
    assert (told[0], told[-1]) == (1, champion())
    assert moves.rollback() == told[-2]


def test_promoting_the_champion_says_that_it_is_that_already(candidates: Path) -> None:
    told = register_py("promote", "1")

    assert told.returncode == 0
    assert told.stderr.splitlines()[-1] == "champion of scoring-client points at version 1 already"
