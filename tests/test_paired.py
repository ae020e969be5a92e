"""Paired differences of figures: they are those of the plain definitions, and resampled as those would be."""

import numpy as np
import pytest

from quality import bootstrap, groups, measures, paired
from quality.scores import Doubles, ScoredClients

CLIENTS = 1_500


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Doubles]:
    """Of drawn clients: what is expected, and what was observed."""
    generator = np.random.default_rng(5)
    expected = generator.beta(1, 6, CLIENTS)
    return {"expected": expected, "observed": (generator.random(CLIENTS) < expected).astype(float)}


@pytest.fixture(scope="module")
def models(outcomes: dict[str, Doubles]) -> tuple[Doubles, Doubles]:
    """The second has ties, and is worse."""
    generator = np.random.default_rng(6)
    noise = [np.exp(size * generator.normal(size=CLIENTS)) for size in (0.3, 0.6)]
    before, after = (np.clip(outcomes["expected"] * one, 0.0, 1.0) for one in noise)
    return before, after.round(2)


def figure_of(probabilities: Doubles, outcome: Doubles, counts: Doubles | None = None) -> tuple[float, float]:
    scored = ScoredClients(outcome, probabilities)
    scores = scored.distribution(counts)
    return measures.auc(scores), scored.calibration_error(scores)


@pytest.mark.parametrize("kind", ["expected", "observed"])
def test_the_interval_of_the_auc_is_that_of_the_bootstrap(
    kind: str, outcomes: dict[str, Doubles], models: tuple[Doubles, Doubles]
) -> None:
    before, after = models

    found = paired.auc(outcomes[kind], before, after)

    drawn = [
        figure_of(after, outcomes[kind], counts)[0] - figure_of(before, outcomes[kind], counts)[0]
        for counts in bootstrap.resamplings(CLIENTS, 1)
    ]
    assert (found.before, found.after) == (
        figure_of(before, outcomes[kind])[0],
        figure_of(after, outcomes[kind])[0],
    )
    ends = np.quantile(drawn, [0.025, 0.975])
    np.testing.assert_allclose([found.difference.low, found.difference.high], ends, atol=0.1 * np.ptp(ends))


def test_the_influence_on_the_auc_is_what_one_client_more_would_change(
    outcomes: dict[str, Doubles], models: tuple[Doubles, Doubles]
) -> None:
    outcome, probabilities = outcomes["observed"][:200], models[1][:200]
    counts, step = np.ones(200), 1e-6

    influence = measures.auc_influence(outcome, probabilities)

    for client in range(0, 200, 20):
        more = counts.copy()
        more[client] += step
        moved = figure_of(probabilities, outcome, more)[0] - figure_of(probabilities, outcome)[0]
        assert influence[client] == pytest.approx(200 * moved / step, abs=1e-3)


def test_without_a_default_no_auc_is_known(models: tuple[Doubles, Doubles]) -> None:
    found = paired.auc(np.zeros(CLIENTS), *models)

    assert np.isnan([found.before, found.after, *found.difference]).all()


def test_the_interval_of_the_calibration_error_is_that_of_the_plain_bootstrap(
    outcomes: dict[str, Doubles], models: tuple[Doubles, Doubles]
) -> None:
    before, after = models
    outcome = outcomes["observed"]
    pair = (measures.calibration(outcome, before), measures.calibration(outcome, after))

    found = paired.compare({"ece": pair}, seed=3)["ece"]

    drawn = [
        figure_of(after, outcome, counts)[1] - figure_of(before, outcome, counts)[1]
        for counts in bootstrap.resamplings(CLIENTS, 3)
    ]
    assert found.before == pytest.approx(figure_of(before, outcome)[1])
    assert found.after == pytest.approx(figure_of(after, outcome)[1])
    assert (found.difference.low, found.difference.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]))


def test_twins_differ_by_nothing_in_any_draw(models: tuple[Doubles, Doubles]) -> None:
    before, after = models
    pairs = {
        "mean": (bootstrap.mean(before), bootstrap.mean(before)),
        "ece": (measures.calibration(after, before), measures.calibration(after, before)),
    }

    found = paired.compare(pairs, seed=0)

    assert {one.difference for one in found.values()} == {bootstrap.Interval(0.0, 0.0, 0.0)}


# ---- Groups

NAMES = np.array(["women"] * 4 + ["men"] * 5 + [""], dtype=object)
APPROVED = np.array([1, 1, 1, 0, 1, 0, 0, 0, 1, 1], dtype=bool)


def test_the_approval_ratio_is_that_of_the_lowest_rate_to_the_highest() -> None:
    ratio = groups.approval_ratio(NAMES, ["women", "men"], APPROVED)

    assert ratio.value == pytest.approx((2 / 5) / (3 / 4))


def test_nobody_approved_is_no_difference_between_groups() -> None:
    assert groups.approval_ratio(NAMES, ["women", "men"], np.zeros(10, dtype=bool)).value == 1.0


def test_the_opportunity_gap_is_that_of_the_repayers() -> None:
    defaulted = np.array([0, 0, 1, 0, 0, 0, 0, 0, 1, 0], dtype=float)

    gap = groups.opportunity_gap(NAMES, ["women", "men"], APPROVED, defaulted)

    assert gap.value == pytest.approx(2 / 3 - 1 / 4)


def test_groups_are_told_by_age_and_by_sex_where_these_are_known() -> None:
    ages = np.array([20.0, 29.99, 30.0, 61.0, np.nan, -1.0])

    found = groups.attributes(-ages * 365.25, np.array(["F", "M", "XNA", None, "F", "F"], dtype=object))

    assert list(found["age band"]) == ["under 30", "under 30", "30 to 39", "60 and over", "", ""]
    assert list(found["sex"]) == ["women", "men", "", "", "women", "women"]
    assert groups.attributes(None, None) == {}


def test_a_group_of_few_clients_is_not_compared() -> None:
    names = np.array(["women"] * groups.SMALLEST_GROUP + ["men"] * (groups.SMALLEST_GROUP - 1))

    assert groups.large(names) == ["women"]
