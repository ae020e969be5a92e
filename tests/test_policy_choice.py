"""Measures, threshold and margin: values computed by hand or by scikit-learn, and laws that always hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score, roc_curve

from mlflow_model.bundle.scoring import DecisionPolicy
from quality import bootstrap, measures
from quality.bootstrap import Interval
from quality.costs import Costs, cheapest_threshold, cost_curve
from quality.scores import ScoredClients, ScoreDistribution
from training.protocol import policy
from training.protocol.policy import BadMargin, Evidence, Threshold, margin_rule

OUTCOMES = [0, 0, 1, 0, 1]
PROBABILITIES = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
COSTS = Costs(5, 1)


def distribution(outcomes: list[int], probabilities: list[float]) -> ScoreDistribution:
    return ScoredClients(outcomes, np.array(probabilities)).distribution()


# ---- Measures ----------------------------------------------------------------------------------------------


def test_the_figures_are_those_of_the_policy() -> None:
    clients = ScoredClients(OUTCOMES, PROBABILITIES)

    figures = measures.measure(clients, DecisionPolicy(0.25, 0.06), COSTS)

    assert figures == pytest.approx(
        {
            "auc": 5 / 6,
            "gini": 2 / 3,
            "ks": 2 / 3,
            "pr_auc": (1 / 1 + 2 / 3) / 2,
            "brier": (0.01 + 0.04 + 0.49 + 0.16 + 0.25) / 5,
            "ece": (0.1 + 0.2 + 0.7 + 0.4 + 0.5) / 5,
            "cost_per_client": 0.2,
            "approval_rate": 0.2,
            "grey_rate": 0.4,
            "default_rate_of_approved": 0.0,
        }
    )


scored = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.05, 0.1, 0.2, 0.2, 0.35, 0.6])), min_size=4, max_size=60
).filter(lambda clients: 0 < sum(defaulted for defaulted, _ in clients) < len(clients))


@given(scored)
@pytest.mark.slow
def test_the_measures_are_scikit_learn_s_with_ties_too(clients: list[tuple[bool, float]]) -> None:
    outcomes, probabilities = np.array([c[0] for c in clients], int), np.array([c[1] for c in clients])
    counted = ScoredClients(outcomes, probabilities).distribution()
    refused_good, refused_bad, _ = roc_curve(outcomes, probabilities, drop_intermediate=False)

    assert measures.auc(counted) == pytest.approx(roc_auc_score(outcomes, probabilities))
    assert measures.average_precision(counted) == pytest.approx(
        average_precision_score(outcomes, probabilities)
    )
    assert measures.brier(counted) == pytest.approx(brier_score_loss(outcomes, probabilities))
    assert measures.kolmogorov_smirnov(counted) == pytest.approx(np.abs(refused_bad - refused_good).max())


@given(scored, st.integers(0, 2**32 - 1))
def test_counting_a_client_twice_is_as_having_two_of_it(clients: list[tuple[bool, float]], seed: int) -> None:
    outcomes, probabilities = np.array([c[0] for c in clients], int), np.array([c[1] for c in clients])
    counts = np.random.default_rng(seed).integers(1, 4, len(clients))

    counted = ScoredClients(outcomes, probabilities).distribution(counts.astype(float))
    repeated = ScoredClients(np.repeat(outcomes, counts), np.repeat(probabilities, counts)).distribution()

    assert counted.defaulted == pytest.approx(repeated.defaulted)
    assert counted.repaid == pytest.approx(repeated.repaid)


def test_the_interval_of_a_rate_is_as_wide_as_theory_says() -> None:
    """A tenth of 1,000 clients defaulted: theory gives 0.1, plus or minus 1.96 times 0.0095."""
    outcomes = np.repeat([0, 1], [900, 100])

    found = bootstrap.intervals(
        1000, 0, lambda counts: {"rate": float(np.average(outcomes, weights=counts))}
    )["rate"]

    assert found.value == 0.1
    assert (found.low, found.high) == pytest.approx((0.0814, 0.1186), abs=0.002)


def test_the_interval_of_the_calibration_error_of_true_probabilities_holds_it_and_zero() -> None:
    """With 4,000 clients noise alone gives an error of about 0.01, and resampling adds as much."""
    random = np.random.default_rng(0)
    true = random.beta(1, 11, 4000)
    clients = ScoredClients((random.random(4000) < true).astype(int), true)

    error = bootstrap.intervals(
        4000, 0, lambda counts: measures.measure(clients, DecisionPolicy(1 / 6), COSTS, counts)
    )["ece"]

    assert 0.0 == error.low < error.value < error.high < 0.02


def test_the_interval_of_an_error_is_corrected_for_what_resampling_adds() -> None:
    """A thousand resamplings from 0.05 to 0.07: the mean is 0.01 too high, the ends are 0.0095 from it."""
    found = bootstrap.interval_of_error(0.05, np.linspace(0.05, 0.07, 1000))

    assert found == pytest.approx((0.05, 0.05 - 2 * 0.01 - 0.0095, 0.05 + 0.0095))


def test_the_interval_of_an_error_holds_it_even_if_every_resampling_is_above() -> None:
    found = bootstrap.interval_of_error(0.0048, np.linspace(0.0063, 0.0161, 1000))

    assert found.low == 0.0
    assert found.high == pytest.approx(0.0048 + 0.95 * 0.0049)


# ---- The threshold -----------------------------------------------------------------------------------------


@given(scored, st.floats(0.05, 0.95))
def test_charging_each_client_adds_up_to_the_curve_and_to_the_business_figure(
    clients: list[tuple[bool, float]], threshold: float
) -> None:
    outcomes, probabilities = np.array([c[0] for c in clients], int), np.array([c[1] for c in clients])
    scores = ScoredClients(outcomes, probabilities).distribution()

    each = COSTS.of_each(probabilities, threshold, outcomes)

    assert each.mean() == pytest.approx(float(cost_curve(scores, COSTS).at(threshold)))
    figures = measures.business(scores, DecisionPolicy(threshold), COSTS)
    assert each.mean() == pytest.approx(figures["cost_per_client"])


def test_a_client_on_the_threshold_is_charged_as_accepted_and_the_margin_changes_nothing() -> None:
    on_it = ScoredClients([1], np.array([0.3])).distribution()

    assert COSTS.of_each(np.array([0.3]), 0.3, [1]) == [5.0]
    assert measures.business(on_it, DecisionPolicy(0.3, 0.1), COSTS)["cost_per_client"] == 5.0


def test_the_expected_cost_of_a_client_weighs_both_outcomes() -> None:
    assert COSTS.of_each(np.array([0.1, 0.4]), 0.2, [0.1, 0.4]) == pytest.approx([5 * 0.1, 0.6])


def test_the_cost_of_a_threshold_counts_both_mistakes() -> None:
    curve = cost_curve(distribution(OUTCOMES, list(PROBABILITIES)), COSTS)

    assert curve.edges == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0])
    assert curve.cost == pytest.approx([3 / 5, 2 / 5, 1 / 5, 6 / 5, 5 / 5, 10 / 5])


def test_whoever_stands_on_the_threshold_is_accepted() -> None:
    curve = cost_curve(distribution(OUTCOMES, list(PROBABILITIES)), COSTS)

    assert curve.at([0.0, 0.0999, 0.1, 0.25, 0.5, 1.0]) == pytest.approx(
        [3 / 5, 3 / 5, 2 / 5, 1 / 5, 10 / 5, 10 / 5]
    )


def test_no_threshold_refuses_a_probability_of_zero() -> None:
    """Refusing both clients would cost nothing, but even the lowest threshold accepts the first."""
    curve = cost_curve(distribution([1, 1], [0.0, 0.5]), COSTS)

    assert curve.edges == pytest.approx([0.0, 0.5, 1.0])
    assert curve.cost == pytest.approx([5 / 2, 10 / 2])


def test_clients_of_equal_probability_are_never_parted() -> None:
    curve = cost_curve(distribution([1, 0, 1], [0.2, 0.2, 0.6]), COSTS)

    assert curve.edges == pytest.approx([0.0, 0.2, 0.6, 1.0])
    assert curve.cost == pytest.approx([1 / 3, 5 / 3, 10 / 3])


def test_of_thresholds_that_cost_the_same_the_lowest_is_chosen() -> None:
    clients = distribution([0, 1, 0, 1], [0.1, 0.3, 0.55, 0.7])

    assert cheapest_threshold(clients, Costs(1, 1)) == 0.2


def test_theory_s_threshold_is_the_cheapest_where_none_costs_less() -> None:
    clients = distribution([0, 1, 0, 1], [0.1, 0.3, 0.5, 0.7])

    assert cheapest_threshold(clients, Costs(1, 1)) == 0.5


def test_a_constant_gets_theory_s_threshold_and_no_interval_between_the_few_thresholds_that_differ() -> None:
    """Every threshold from 0.1 on accepts everybody."""
    clients = ScoredClients(np.repeat([0, 1], [90, 10]), np.full(100, 0.1))

    found = policy.choose_threshold(clients, COSTS, 0)

    assert found.chosen == 1 / 6
    assert found.optimum == (1 / 6, 1 / 6, 1 / 6)


def test_theory_s_threshold_is_one_sixth_for_costs_of_five_to_one() -> None:
    assert COSTS.ideal_threshold == 1 / 6


@pytest.mark.parametrize(("distortion", "chosen"), [(1.0, "theory"), (3.0, "the cheapest")])
def test_theory_s_threshold_is_taken_unless_the_probabilities_speak_against_it(
    distortion: float, chosen: str
) -> None:
    random = np.random.default_rng(0)
    true = random.beta(1, 9, 5000)
    outcomes = (random.random(5000) < true).astype(int)

    found = policy.choose_threshold(ScoredClients(outcomes, np.minimum(distortion * true, 1.0)), COSTS, 0)

    assert found.reason.startswith(chosen)
    assert found.chosen == (found.ideal if chosen == "theory" else found.optimum.value)


# ---- The margin --------------------------------------------------------------------------------------------

unit = st.integers(1, 9_999).map(lambda number: number / 10_000)


def evidence(probabilities: list[float], threshold: float, calibrated: bool = True) -> Evidence:
    found = Threshold(threshold, Interval(threshold, threshold, threshold), threshold)
    return Evidence(found, np.array(probabilities), calibrated, COSTS)


def grey(chosen: DecisionPolicy, probabilities: list[float]) -> int:
    return int((chosen.decisions(np.array(probabilities))["prediction"] == chosen.uncertain).sum())


def test_a_given_margin_is_kept() -> None:
    assert margin_rule("0.02").policy(evidence([0.3], 0.25)) == DecisionPolicy(0.25, 0.02)


def test_a_margin_wider_than_the_room_around_the_threshold_is_refused() -> None:
    with pytest.raises(BadMargin, match=r"margin 0\.3 is not between 0 and 0\.2500"):
        margin_rule("0.3").policy(evidence([0.3], 0.25))


@given(unit, unit, unit)
def test_the_margin_of_the_interval_covers_it(one: float, two: float, three: float) -> None:
    low, value, high = sorted([one, two, three])
    found = Threshold(value, Interval(value, low, high), value)

    chosen = margin_rule("auto:ci").margin(Evidence(found, np.array([]), True, COSTS))

    assert value - chosen <= low + 1e-12
    assert value + chosen >= high - 1e-12
    assert chosen == pytest.approx(max(value - low, high - value))


@given(st.lists(unit, min_size=1, max_size=40), unit, st.floats(0, 1))
def test_the_margin_of_a_capacity_sends_no_more_than_it_and_no_fewer_than_it_must(
    probabilities: list[float], place: float, share: float
) -> None:
    threshold = place + 0.00003  # no client is exactly on it: such a client is grey with any margin
    chosen = margin_rule(f"auto:capacity={share!r}").policy(evidence(probabilities, threshold))

    capacity = int(share * len(probabilities))
    room = min(threshold, 1 - threshold)
    distances = np.sort(np.abs(np.array(probabilities) - threshold))
    if chosen.margin > 0:
        assert grey(chosen, probabilities) <= capacity
    if chosen.margin < room:
        left_out = distances[distances > chosen.margin]
        assert np.count_nonzero(distances <= left_out[0]) > capacity


def expected_cost(chosen: DecisionPolicy, probabilities: list[float], review: float) -> float:
    """Chow's objective, summed client by client."""
    total = 0.0
    for p in probabilities:
        if chosen.lower_bound <= p <= chosen.upper_bound:
            total += review * COSTS.false_positive
        elif p < chosen.threshold:
            total += COSTS.false_negative * p
        else:
            total += COSTS.false_positive * (1 - p)
    return total


@given(st.lists(unit, min_size=1, max_size=30), st.floats(0.05, 0.95), st.floats(0, 2), st.floats(0, 1))
def test_no_other_margin_costs_less_than_that_of_the_reject_option(
    probabilities: list[float], threshold: float, review: float, other: float
) -> None:
    chosen = margin_rule(f"auto:chow={review!r}").policy(evidence(probabilities, threshold))
    rival = DecisionPolicy(threshold, other * min(threshold, 1 - threshold))

    assert expected_cost(chosen, probabilities, review) <= (
        expected_cost(rival, probabilities, review) + 1e-9
    )


def test_a_review_that_costs_more_than_any_mistake_leaves_no_grey_zone() -> None:
    assert margin_rule("auto:chow=0.9").policy(evidence([0.1, 0.16, 0.18, 0.5], 1 / 6)).margin == 0.0


def test_the_reject_option_refuses_what_is_no_probability() -> None:
    with pytest.raises(BadMargin, match="classes are weighted"):
        margin_rule("auto:chow=0.8").policy(evidence([0.5], 0.5, calibrated=False))
