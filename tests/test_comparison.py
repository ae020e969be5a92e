"""The comparison of a candidate with the champion, by hand: labels, rates, costs, and who is left out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from mlflow_model.bundle.bundles import Bundle
from mlflow_model.registry import moves
from promotion import comparison
from promotion.gate import Limits
from quality import costs
from quality.costs import Costs
from quality.portfolio import Portfolio
from tests import servers
from tests.command_line import register_py
from tests.conftest import FEATURES, SOMETIMES_MISSING
from tests.promotion_support import answers, compared, portfolio, sentences

pytest_plugins = ["tests.promotion_fixtures"]


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
