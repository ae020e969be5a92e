"""Who is scored by whom, which candidate wins, with which margin, and how groups fare."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.patches import StepPatch

from features import aggregate, raw_tables
from quality import bootstrap, measures
from quality.scores import ScoredClients
from tests.test_features_from_tables import ROOT, portfolio, write_portfolio
from training.protocol import candidates, experiment, policy
from training.protocol.experiment import Settings
from training.protocol.policy import margin_rule
from training.results import figures, report

pytest_plugins = ["tests.training_fixtures"]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_training")]


SETTINGS = Settings(margin_rule("0.02"))


@pytest.fixture(scope="module")
def clients(raw_folder: Path) -> pd.DataFrame:
    features = aggregate.client_features(raw_tables.read(raw_folder).by_name)
    return features.to_pyarrow().to_pandas().set_index("SK_ID_CURR")


def silently(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def findings(clients: pd.DataFrame) -> experiment.Findings:
    return experiment.run(clients, SETTINGS, silently)


# ---- The protocol


def test_no_client_of_the_test_set_is_among_those_that_the_models_saw(
    findings: experiment.Findings, clients: pd.DataFrame
) -> None:
    known, asked = set(findings.development.index), set(findings.test.index)

    assert not known & asked
    assert known | asked == set(clients.index)
    assert len(asked) == 300
    assert findings.test["TARGET"].mean() == pytest.approx(clients["TARGET"].mean(), abs=0.002)


def test_each_client_is_scored_by_a_model_that_has_not_seen_it(clients: pd.DataFrame) -> None:
    """A boosted model that had seen its clients would tell even their shuffled outcomes apart."""
    shuffled = clients.assign(TARGET=clients["TARGET"].sample(frac=1, random_state=0).to_numpy())

    guessed = experiment.out_of_fold(candidates.lightgbm("any"), shuffled, SETTINGS, silently)

    scored = ScoredClients(shuffled["TARGET"], guessed)
    assert measures.auc(scored.distribution()) < 0.6


def test_no_feature_sees_the_outcome(tmp_path: Path) -> None:
    raw = portfolio(300)
    flipped = raw | {
        "application_train": raw["application_train"].assign(TARGET=1 - raw["application_train"]["TARGET"])
    }

    pd.testing.assert_frame_equal(
        _features_of(raw, tmp_path / "some"), _features_of(flipped, tmp_path / "other")
    )
    assert "TARGET" not in candidates.MODEL_FEATURES


def _features_of(raw: dict[str, pd.DataFrame], folder: Path) -> pd.DataFrame:
    folder.mkdir()
    read = raw_tables.read(write_portfolio(folder, raw))
    found = aggregate.client_features(read.by_name).to_pyarrow().to_pandas()
    return found[list(candidates.MODEL_FEATURES)]


def test_four_candidates_compete_and_a_deliverable_one_wins(findings: experiment.Findings) -> None:
    names = [result.candidate.name for result in findings.results]

    assert names == ["constant", "logistic regression", "LightGBM", "LightGBM, class weights"]
    assert findings.champion.candidate.deliverable
    assert findings.champion.extra_cost == (0.0, 0.0, 0.0)


def test_the_champion_is_fitted_on_the_development_clients_alone(findings: experiment.Findings) -> None:
    champion, development = findings.champion, findings.development

    again = experiment.fitted(champion.candidate, development, SETTINGS)

    assert champion.model.booster_.model_to_string() == again.booster_.model_to_string()


def test_the_margin_of_a_capacity_leaves_no_more_development_clients_grey_than_can_be_reviewed(
    clients: pd.DataFrame,
) -> None:
    """A twentieth of 1,200 is 60. They are counted out of fold, where no two clients share a probability."""
    found = experiment.run(clients, Settings(margin_rule("auto:capacity=0.05")), silently)

    chosen, scores = found.champion.policy, found.champion.out_of_fold
    grey = (scores >= chosen.lower_bound) & (scores <= chosen.upper_bound)
    assert len(scores) == 1200
    assert 55 <= grey.sum() <= 60


def draft(candidate: candidates.Candidate, probabilities: np.ndarray) -> experiment._Draft:
    threshold = policy.Threshold(0.5, bootstrap.Interval(0.5, 0.5, 0.5), 0.5)
    return experiment._Draft(candidate, probabilities, threshold)


def test_the_extra_cost_is_how_much_more_than_the_champion_s() -> None:
    """Half of 200 clients repay: refusing all costs 0.5 per client. The other candidate makes no mistake."""
    target = pd.Series(np.repeat([0, 1], 100))
    drafts = [
        draft(candidates.lightgbm("refuses all"), np.ones(200)),
        draft(candidates.lightgbm("right"), target.to_numpy(dtype=float)),
    ]

    charged = np.stack([SETTINGS.costs.of_each(one.probabilities, 0.5, target) for one in drafts])
    refuses_all, right = experiment._compared(drafts, charged, SETTINGS)

    assert (refuses_all.is_champion, right.is_champion) == (False, True)
    assert (refuses_all.cost.value, right.cost.value) == (0.5, 0.0)
    assert (refuses_all.extra_cost.value, right.extra_cost.value) == (0.5, 0.0)
    assert 0.3 < refuses_all.extra_cost.low < 0.5 < refuses_all.extra_cost.high < 0.7


def test_too_few_clients_of_one_outcome_are_refused(clients: pd.DataFrame) -> None:
    few = clients.assign(TARGET=np.where(np.arange(len(clients)) < 4, 1, 0))

    with pytest.raises(
        experiment.TooFewClients, match=r"TARGET is 1 for 4 different client\(s\): at least 10"
    ):
        experiment.run(few, SETTINGS, silently)


def test_the_same_seed_gives_the_same_trees_for_any_number_of_threads(clients: pd.DataFrame) -> None:
    alone, together, other_seed = (
        experiment.fitted(
            candidates.lightgbm("any"), clients, replace(SETTINGS, seed=seed, n_jobs=threads)
        ).booster_.model_to_string()
        for seed, threads in ((7, 1), (7, 4), (8, 1))
    )

    assert alone == together
    assert alone != other_seed


@pytest.mark.endurance
def test_threads_that_wait_leave_the_cores_to_others() -> None:
    environment = {name: value for name, value in os.environ.items() if "OMP_" not in name}
    command = [sys.executable, "-m", "training", "--help"]

    shown = subprocess.run(
        command, cwd=ROOT, env=environment | {"OMP_DISPLAY_ENV": "verbose"}, capture_output=True, check=True
    )

    turns_of_each_openmp = re.findall(rb"GOMP_SPINCOUNT = '(\d+)'", shown.stderr)
    assert set(turns_of_each_openmp) == {b"0"}


def test_a_search_brings_a_fifth_candidate_into_the_same_protocol_and_the_card_tells_what_it_found(
    clients: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(candidates.PARAMETERS, "n_estimators", 100)
    steps: list[str] = []

    searched = experiment.run(clients, Settings(margin_rule("0.02"), search_minutes=0.05), steps.append)

    assert [result.candidate.name for result in searched.results][-1] == "LightGBM, searched"
    assert any(step.startswith("search: trial 1") for step in steps)
    found = dict(searched.results[-1].candidate.parameters)
    card = report.card(searched, report.Source("Somebody.", {}, "python -m training"), "")
    assert yaml.safe_load(card.split("---\n")[1])["searched_parameters"] == found
    assert "any number of threads, but for LightGBM, searched: the search stops by the clock" in card
    assert f"`num_leaves={found['num_leaves']}`" in card


def test_without_a_search_the_card_promises_the_same_trees_of_every_candidate(
    findings: experiment.Findings,
) -> None:
    text = report.text(findings, report.Source("Somebody.", {}, "python -m training"))

    assert "the clock" not in text
    assert text.endswith("for any number of threads.\n")


def test_the_card_says_by_how_much_the_champion_wins(findings: experiment.Findings) -> None:
    text = report.text(findings, report.Source("Somebody.", {}, "python -m training"))

    second = min(result.extra_cost for result in findings.results if result is not findings.champion)
    assert re.search(
        rf"There the runner-up, .+, costs {abs(second.value):.4f} \[.+\] (more|less) per client\.", text
    )


# ---- Fairness


def test_groups_are_compared_by_approval_and_by_equal_opportunity() -> None:
    people = pd.DataFrame(
        {
            "TARGET": [0, 0, 1, 0, 0, 1],
            "CODE_GENDER": ["F", "F", "F", "M", "M", "XNA"],
            "DAYS_BIRTH": [-25 * 366, -25 * 366, -25 * 366, -65 * 366, -65 * 366, -65 * 366],
        }
    )
    refuse_above_half = policy.DecisionPolicy(0.5)

    found = experiment.by_group(people, np.array([0.1, 0.6, 0.2, 0.1, 0.2, 0.9]), refuse_above_half, seed=0)
    by_age, by_sex = found

    women, men = by_sex.groups
    assert [group.name for group in by_age.groups] == ["under 30", "60 and over"]
    assert (women.name, women.clients) == ("women", 3)
    assert [women.default_rate.value, women.approval_rate.value] == pytest.approx([1 / 3, 2 / 3])
    assert women.equal_opportunity == 0.5
    assert (men.approval_rate.value, men.equal_opportunity) == (1.0, 1.0)
    assert (by_sex.approval_ratio, by_sex.opportunity_gap) == (None, None)


def test_the_gap_and_the_ratio_of_large_groups_have_intervals_and_four_fifths_is_told() -> None:
    """Of 200 women 140 are approved, of 200 men all: among repayers too."""
    people = pd.DataFrame(
        {
            "TARGET": np.tile([0, 1], 200),
            "CODE_GENDER": np.repeat(["F", "M"], 200),
            "DAYS_BIRTH": np.repeat(-40 * 366, 400),
        }
    )
    probabilities = np.where(np.arange(400) < 60, 0.9, 0.1)

    (by_sex,) = experiment.by_group(people, probabilities, policy.DecisionPolicy(0.5), seed=0)

    ratio, gap = by_sex.approval_ratio, by_sex.opportunity_gap
    assert ratio is not None
    assert gap is not None
    assert (ratio.value, gap.value) == pytest.approx((0.7, 0.3))
    assert ratio.low < 0.7 < ratio.high < 0.8
    assert by_sex.is_below_four_fifths


# ---- What is drawn


def test_the_cost_curve_that_is_drawn_is_the_out_of_fold_one_with_the_test_set_s_beside_it(
    findings: experiment.Findings,
) -> None:
    figure = figures.of_candidate(findings, findings.champion)["cost"]

    (panel,) = figure.axes
    steps = {curve.get_label(): curve for curve in panel.patches if isinstance(curve, StepPatch)}
    assert len(steps["out of fold"].get_data()[0]) > 900  # 1,200 clients, 300 in the test set
    assert len(steps["test set"].get_data()[0]) <= 301
    assert steps["test set"].get_alpha() == 0.3
