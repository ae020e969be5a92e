"""Portfolios from which nothing good can be learnt, or too much: what a training then does and says."""

import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features import aggregate, raw_tables
from quality import stability
from quality.bootstrap import Interval
from quality.costs import NEGLIGIBLE, Costs
from tests.test_features_from_tables import ROOT, portfolio, write_portfolio
from training.__main__ import main
from training.protocol import candidates, experiment, partition
from training.protocol.candidates import MODEL_FEATURES
from training.protocol.experiment import Findings, Settings
from training.protocol.policy import Threshold, margin_rule
from training.results import doubts, report

SETTINGS = Settings(margin_rule("0.02"))
pytestmark = pytest.mark.usefixtures("short_training")


def clients(number: int, default_rate: float = 0.1, seed: int = 0) -> pd.DataFrame:
    """Clients whose features say nothing of what became of them."""
    generator = np.random.default_rng(seed)
    drawn = pd.DataFrame({name: generator.normal(size=number) for name in MODEL_FEATURES})
    return drawn.assign(
        DAYS_BIRTH=generator.uniform(-25_000, -8_000, number),
        CODE_GENDER=generator.choice(["F", "M"], number),
        TARGET=(generator.random(number) < default_rate).astype(int),
    )


def trained(portfolio: pd.DataFrame, order: pd.Series | None = None) -> Findings:
    return experiment.run(portfolio, SETTINGS, lambda _: None, order=order)


def test_a_model_that_is_a_constant_is_not_delivered() -> None:
    few = clients(300)

    with pytest.raises(experiment.NothingLearnt, match="no tree of LightGBM could tell any of 240 clients"):
        trained(few)


@pytest.mark.slow
def test_noise_is_no_skill_and_leaves_the_threshold_where_theory_has_it() -> None:
    found = trained(clients(3_000))

    assert found.champion.candidate.name == "LightGBM"
    assert found.champion.policy.threshold == pytest.approx(1 / 6)
    assert any(doubt.startswith("the champion is not surely cheaper than one") for doubt in doubts.of(found))


@pytest.mark.endurance
def test_the_same_clients_under_new_numbers_do_not_seem_to_be_known() -> None:
    """Their outcomes are noise: a model that has seen a client's twin would know the client's."""
    once = clients(2_000, 0.3)
    found = trained(pd.concat([once, once], ignore_index=True))

    assert abs(found.champion.test["auc"].value - 0.5) < 0.1
    assert doubts.of(found)[0] == (
        "4,000 of 4,000 clients have the same features as another one; these were kept together, and the "
        "intervals take them for different clients"
    )


def test_clients_who_are_alike_are_in_one_part() -> None:
    """Client n of the second hundred is client 99 - n of the first; the last two hundred are all one."""
    once = clients(100, 0.3)
    one_many_times = once.iloc[np.zeros(200, dtype=int)]
    everyone = pd.concat([once, once.iloc[::-1], one_many_times], ignore_index=True)
    of_each = np.concatenate([np.arange(100), np.arange(100)[::-1], np.zeros(200)])

    chosen = partition.by_chance(everyone, seed=0)
    parts = list(partition.folds(everyone, seed=0))

    for one, other in [(chosen.development, chosen.test), *parts]:
        assert not {*of_each[one]} & {*of_each[other]}
        assert sorted([*one, *other]) == list(range(400))
    assert 20 <= len(chosen.test) <= 80


def test_what_is_negligible_is_a_part_of_what_refusing_a_client_costs() -> None:
    """The same costs in units that are ten thousand times smaller, and the same champion."""
    drafts = [
        draft(candidates.lightgbm("calibrated"), np.zeros(100), 0.5),
        draft(candidates.lightgbm("weighted", class_weight="balanced"), np.zeros(100), 0.5),
    ]
    charged = 10_000 * np.array([np.full(100, 0.3), np.full(100, 0.299)])
    in_cents = Settings(margin_rule("0.02"), Costs(50_000, 10_000))

    found = experiment._compared(drafts, charged, in_cents)

    assert [one.draft.candidate.name for one in found if one.is_champion] == ["calibrated"]


@pytest.mark.slow
def test_clients_are_counted_once_for_each_outcome_that_they_have() -> None:
    """Of each client there is one who repaid and one who defaulted: nobody is the first."""
    once = clients(400)
    both = pd.concat([once.assign(TARGET=0), once.assign(TARGET=1)], ignore_index=True)

    assert len(trained(both).test) == 160


def test_too_few_outcomes_of_a_part_are_told_of_that_part() -> None:
    drawn = clients(1_000, 0.3)
    late = drawn.assign(TARGET=np.where(np.arange(1_000) < 800, drawn["TARGET"], 0))

    with pytest.raises(
        experiment.TooFewClients, match=r"TARGET is 1 for 0 different client\(s\) of the test set"
    ):
        trained(late, order=pd.Series(np.arange(1_000.0)))


def test_a_feature_that_knows_the_outcome_is_told() -> None:
    drawn = clients(2_000, 0.3)
    leaking = drawn.assign(EXT_SOURCE_1=drawn["TARGET"] + np.random.default_rng(1).normal(0, 0.1, 2_000))

    by_figure, by_gain = doubts.of(trained(leaking))

    assert by_figure.endswith("is more than can be known before a loan: a feature may know the outcome")
    assert by_gain.startswith("EXT_SOURCE_1 alone brings ")


@pytest.mark.slow
def test_a_policy_that_approves_nobody_is_told() -> None:
    found = experiment.run(clients(3_000), Settings(margin_rule("0.1666")), lambda _: None)

    assert any(
        re.fullmatch(r"the grey zone holds \d+% of the clients, and 0% are approved", doubt)
        for doubt in doubts.of(found)
    )
    text = report.text(found, report.Source("Somebody.", {}, "python -m training"))
    assert "| defaults among the approved | not known |" in text
    assert not any(name.startswith("default_rate_of_approved") for name in report.metrics(found.champion))


def draft(candidate: candidates.Candidate, probabilities: np.ndarray, chosen: float) -> experiment._Draft:
    return experiment._Draft(candidate, probabilities, Threshold(0.5, Interval(0.5, 0.5, 0.5), chosen))


@pytest.mark.parametrize(("times", "champion"), [(0.5, "calibrated"), (2.0, "weighted")])
def test_probabilities_are_not_given_up_for_a_negligible_cost(times: float, champion: str) -> None:
    """The weighted model costs surely less, by a part or a multiple of what is negligible."""
    drafts = [
        draft(candidates.lightgbm("calibrated"), np.zeros(100), 0.5),
        draft(candidates.lightgbm("weighted", class_weight="balanced"), np.zeros(100), 0.5),
    ]
    charged = np.array([np.full(100, 0.3), np.full(100, 0.3 - times * NEGLIGIBLE)])

    found = experiment._compared(drafts, charged, SETTINGS)

    assert [one.draft.candidate.name for one in found if one.is_champion] == [champion]


def test_a_threshold_that_was_fitted_to_chance_is_charged_for_it() -> None:
    """The cheapest threshold of noise costs less on the clients that it was chosen by than on others."""
    costs, generator = Costs(1, 1), np.random.default_rng(3)
    settings = Settings(margin_rule("0"), costs)
    once, nested = [], []
    for seed in range(20):
        drawn, noise = clients(400, 0.5, seed), generator.random(400)
        target = drawn["TARGET"].to_numpy()
        chosen = experiment.cheapest_threshold(experiment.ScoredClients(target, noise).distribution(), costs)
        once.append(costs.of_each(noise, chosen, target).mean())
        nested.append(experiment._charges([draft(candidates.lightgbm(""), noise, chosen)], drawn, settings))

    assert np.mean(once) < 0.47
    assert np.mean(nested) > 0.49


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (Interval(0.01, 0.005, 0.02), "0.0100 [0.0050, 0.0200] more"),
        (Interval(-0.0167, -0.02, 0.001), "0.0167 [-0.0010, 0.0200] less"),
    ],
)
def test_a_difference_in_cost_is_said_without_a_sign(extra: Interval, said: str) -> None:
    assert report._more(extra) == said


# ---- Out of time


@pytest.mark.slow
def test_the_last_clients_test_the_model_and_a_drift_is_told() -> None:
    """After the first of the years half of the clients default, and their score has moved too."""
    years = pd.Series(np.repeat([2021, 2022, 2023], [1_000, 1_400, 600]))
    drawn = clients(3_000, 0.1)
    late = (years == 2023).to_numpy()
    drifting = drawn.assign(
        TARGET=np.where(late, np.arange(3_000) % 2, drawn["TARGET"]),
        EXT_SOURCE_2=drawn["EXT_SOURCE_2"] + 2.0 * late - drawn["TARGET"],
    )

    found = trained(drifting, order=years)

    assert (found.first_of_test, len(found.test), set(years[found.test.index])) == (2023, 600, {2023})
    said = doubts.of(found)
    assert any(doubt.startswith("the default rate moved from ") for doubt in said)
    assert any(doubt.startswith("the probabilities moved: their PSI in the test set is ") for doubt in said)
    text = report.text(found, report.Source("Somebody.", {}, "python -m training"))
    assert "The last 20% of the clients, from 2023 on, were set aside." in text
    assert all(f"- {doubt}" in text for doubt in said)


def test_clients_of_one_value_are_not_divided() -> None:
    halves = pd.Series(np.repeat([1.0, 2.0], 50))

    found = partition.by_order(halves)

    assert (len(found.development), len(found.test)) == (50, 50)
    with pytest.raises(partition.NothingToSplitBy):
        partition.by_order(pd.Series(np.ones(10)))


ORDERS = {
    "dates": ["2024-01-31", "2023-12-31", "2024-02-01"],
    "times": ["2024-01-31 23:00", "2024-01-31T08:00", "2024-02-01T07:00"],
    "numbers": ["10", "9.5", "11"],
    "numbers with decimal commas": ["10,5", "9,5", "11"],
}


def with_a_column(values: list[str], folder: Path) -> Path:
    raw = portfolio(3)
    table = raw["application_train"]
    keys = [f"{key}.0" for key in table["SK_ID_CURR"]]  # as a library writes a column of doubles
    raw["application_train"] = table.assign(OPENED=values, SK_ID_CURR=keys)
    return write_portfolio(folder, raw)


@pytest.mark.parametrize("kind", ORDERS)
def test_clients_are_put_in_order_by_dates_or_numbers(kind: str, tmp_path: Path) -> None:
    found = raw_tables.order(raw_tables.read(with_a_column(ORDERS[kind], tmp_path)), "OPENED")

    assert found.argsort().tolist() == [1, 0, 2]


@pytest.mark.parametrize("value", ["no date", "", "01/02/2024", "2024-99-99", "2024-02-30"])
@pytest.mark.slow
def test_what_is_neither_a_date_nor_a_number_is_refused(value: str, tmp_path: Path) -> None:
    folder = with_a_column(["2024-01-31", value, "2024-01-31"], tmp_path)

    with pytest.raises(raw_tables.BadTable, match=r"application_train.csv: column OPENED (holds|lacks)"):
        raw_tables.order(raw_tables.read(folder), "OPENED")


@pytest.mark.parametrize(
    "costs", [("--cost-fn", "1e308"), ("--cost-fp", "1e9"), ("--cost-fn", "1e-7"), ("--cost-fn", "inf")]
)
def test_costs_that_leave_no_threshold_are_refused(
    costs: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--clients", "2000", *costs])

    assert capsys.readouterr().err.startswith("Refused: ")


def test_a_ratio_beyond_every_number_is_missing(tmp_path: Path) -> None:
    raw = portfolio(3)
    raw["application_train"] = raw["application_train"].assign(AMT_ANNUITY=1e-300, AMT_CREDIT=1e14)

    found = aggregate.client_features(raw_tables.read(write_portfolio(tmp_path, raw)).by_name)

    assert found.to_pyarrow()["CREDIT_TERM"].null_count == 3


def test_a_column_of_which_nothing_is_known_may_have_no_type(tmp_path: Path) -> None:
    folder = write_portfolio(tmp_path, portfolio(3))
    table = pd.read_csv(folder / "application_train.csv").assign(EXT_SOURCE_1=None, CODE_GENDER=None)
    table.to_parquet(folder / "application_train.parquet")

    found = aggregate.client_features(raw_tables.read(folder).by_name).to_pyarrow()

    assert (found["EXT_SOURCE_1"].null_count, found["CODE_GENDER"].null_count) == (3, 3)


def test_drawn_clients_have_no_column_to_split_by(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--clients", "2000", "--split-by", "OPENED"])

    assert capsys.readouterr().err == "Refused: --split-by needs --data-dir: drawn clients have no dates\n"


def test_a_parquet_file_may_hold_dates(tmp_path: Path) -> None:
    folder = write_portfolio(tmp_path, portfolio(3))
    table = pd.read_csv(folder / "application_train.csv")
    days = pd.to_datetime(["2024-01-03", "2024-01-01", "2024-01-02"])
    table.assign(OPENED=days).to_parquet(folder / "application_train.parquet")

    found = raw_tables.order(raw_tables.read(folder), "OPENED")

    assert found.argsort().tolist() == [1, 2, 0]


@pytest.mark.endurance
def test_the_command_on_the_card_has_all_digits(store: Path, tmp_path: Path) -> None:
    folder, out = write_portfolio(tmp_path, portfolio(1_500)), tmp_path / "out"
    options = ["--cost-fn", "1234567.5", "--cost-fp", "246913.5", "--hide-history", "0.0040000001"]

    assert main(["--data-dir", str(folder), "--out", str(out), *options]) == 0

    card = (out / "lgbm_final_model.md").read_text()
    assert "--cost-fn 1234567.5 --cost-fp 246913.5 --hide-history 0.0040000001\n" in card


@pytest.mark.endurance
def test_the_command_splits_by_a_column_and_says_so_in_the_card(store: Path, tmp_path: Path) -> None:
    raw = portfolio(1_500)
    table = raw["application_train"]
    raw["application_train"] = table.assign(
        OPENED=[f"2024-{1 + row % 12:02}-01" for row in range(len(table))]
    )
    folder, out = write_portfolio(tmp_path, raw), tmp_path / "out"

    assert main(["--data-dir", str(folder), "--out", str(out), "--split-by", "OPENED"]) == 0

    card = (out / "lgbm_final_model.md").read_text()
    assert "The last 17% of the clients, from 2024-11-01 on, were set aside." in card
    assert "--split-by OPENED" in card


def test_psi_is_that_of_the_textbook_formula() -> None:
    """Of two bins, the shares move from a half each to 0.8 and 0.2."""
    expected, actual = np.repeat([0.0, 1.0], 50), np.repeat([0.0, 1.0], [80, 20])

    found = stability.population_stability_index(expected, actual)

    assert found == pytest.approx(0.3 * np.log(0.8 / 0.5) - 0.3 * np.log(0.2 / 0.5))
    assert stability.population_stability_index(expected, expected) == 0.0


def test_a_psi_that_chance_explains_is_no_drift() -> None:
    generator = np.random.default_rng(0)
    indices = [
        stability.population_stability_index(generator.random(4_000), generator.random(60))
        for _ in range(400)
    ]

    above = np.mean(np.array(indices) > stability.highest_by_chance(4_000, 60))
    assert np.mean(np.array(indices) > stability.NOTABLE) > 0.5
    assert above < 0.15


@pytest.mark.slow
def test_a_portfolio_that_is_too_small_is_refused_in_one_sentence(store: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training", "--clients", "300", "--out", str(tmp_path / "out")]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("Refused: ")
    assert "Warning" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_few_clients_bring_no_warning_of_a_library() -> None:
    """Many resamplings of the test set have no defaulter."""
    few = clients(600)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = trained(few.assign(TARGET=(np.arange(600) < 10).astype(int)))

    assert not np.isnan(found.champion.test["auc"]).any()
