"""What would change a decision: the offers of POST /explain, each proved by all changes there are."""

import dataclasses
import functools
import json
import math
from typing import Any

import lightgbm
import numpy as np
import pytest

from explain import leaves, loans, offer_sentences, offers, population
from explain.leaves import Leaves
from explain.loans import LEVERS, WORSE
from explain.search import Question, Wanted
from explain.tariff import PLAUSIBLE
from features.identities import IDENTITIES
from mlflow_model.bundle import bundles
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.model_text import Tree
from mlflow_model.bundle.scoring import DecisionPolicy, Doubles, Scorer
from tests.enumerated_offers import RANGES, Enumeration
from tests.explain_support import Client, ask, explained, reference_clients
from tests.servers import FlaskDoor

pytest_plugins = ["tests.explain_fixtures"]

MANY = 20_000
BETTER_NAMES = ["less_credit", "longer_term", "shorter_term", "cheaper_good", "more_income"]
WORSE_NAMES = ["more_credit", "longer_term", "shorter_term", "dearer_good", "less_income"]
PAIR_NAMES = [
    ("less_credit", "longer_term"),
    ("less_credit", "shorter_term"),
    ("less_credit", "cheaper_good"),
    ("longer_term", "more_income"),
    ("shorter_term", "more_income"),
]
COARSE = tuple(dataclasses.replace(lever, digits=2) for lever in LEVERS)


@pytest.fixture(scope="module")
def scorer(shipped_scorer: Scorer) -> Scorer:
    return shipped_scorer


@pytest.fixture(scope="module")
def door(shipped_door: FlaskDoor) -> FlaskDoor:
    return shipped_door


@pytest.fixture(scope="module")
def booster(shipped: Bundle) -> lightgbm.Booster:
    return lightgbm.Booster(model_str=shipped.files["model.txt"].decode())


def with_label(scorer: Scorer, *labels: str, count: int) -> list[Client]:
    """The first reference clients with one of these labels."""
    found = (one for one in reference_clients(scorer, MANY) if scorer.decide(one)["prediction"] in labels)
    return [client for client, _ in zip(found, range(count), strict=False)]


def not_reliable(scorer: Scorer, count: int) -> list[Client]:
    return with_label(scorer, scorer.policy.uncertain, scorer.policy.risky, count=count)


def reliable(scorer: Scorer, count: int) -> list[Client]:
    return with_label(scorer, scorer.policy.reliable, count=count)


def known(client: Client) -> dict[str, float]:
    return {name: math.nan if value is None else value for name, value in client.items()}


leaves_of = functools.cache(Leaves.of_text)


def question(scorer: Scorer, client: Client) -> Question:
    return Question(
        scorer,
        leaves_of(scorer.model_text),
        population.of_facts(scorer.population),
        loans.loan_of(known(client)),
        PLAUSIBLE,
    )


def enumeration(booster: lightgbm.Booster, asked: Question) -> Enumeration:
    return Enumeration(booster, asked.loan.values, asked.loan.income, asked.population)


# ---- Proofs: nothing cheaper exists, and nothing exists where none is found


@pytest.mark.parametrize(
    "count", [12, pytest.param(100, marks=pytest.mark.slow), pytest.param(500, marks=pytest.mark.endurance)]
)
@pytest.mark.parametrize("is_below", [True, False], ids=["to the better", "to the worse"])
def test_one_lever_finds_what_looking_at_every_amount_finds(
    scorer: Scorer, booster: lightgbm.Booster, count: int, is_below: bool
) -> None:
    bound = scorer.policy.threshold - scorer.policy.margin
    for client in (not_reliable if is_below else reliable)(scorer, count):
        asked = question(scorer, client)
        levers = {lever.name: lever for lever in asked.loan.levers(LEVERS if is_below else WORSE)}
        assert [*levers] == (BETTER_NAMES if is_below else WORSE_NAMES)
        for name, lever in levers.items():
            landscape = asked.landscape([lever])
            change = landscape.cheapest(Wanted(bound, is_below))
            extreme = landscape.extreme(is_lowest=is_below)

            best = enumeration(booster, asked).best([name], logit(bound), is_below=is_below)

            assert (landscape.log_odds.size, landscape.possible) == (best.examined, best.possible)
            assert near(change and change.cost, best.cost)
            assert near(extreme and logit(extreme.probability), best.extreme)


@pytest.mark.parametrize(
    "count", [4, pytest.param(100, marks=pytest.mark.slow), pytest.param(500, marks=pytest.mark.endurance)]
)
def test_two_levers_find_what_looking_at_every_pair_finds(
    scorer: Scorer, booster: lightgbm.Booster, count: int
) -> None:
    """On a lattice of two digits, which can be looked at whole."""
    bound = scorer.policy.threshold - scorer.policy.margin
    for client in not_reliable(scorer, count):
        asked = question(scorer, client)
        pairs = {
            tuple(lever.name for lever in pair): pair for pair in loans.pairs([*asked.loan.levers(COARSE)])
        }
        assert sorted(pairs) == sorted(PAIR_NAMES)
        for names, pair in pairs.items():
            landscape = asked.landscape(pair)
            change, extreme = landscape.cheapest(Wanted(bound)), landscape.extreme(is_lowest=True)

            best = enumeration(booster, asked).best(names, logit(bound), is_below=True, digits=2)

            assert (landscape.log_odds.size, landscape.possible) == (best.examined, best.possible)
            assert near(change and change.cost, best.cost)
            assert near(extreme and logit(extreme.probability), best.extreme)


@pytest.mark.parametrize(
    "count", [8, pytest.param(40, marks=pytest.mark.slow), pytest.param(120, marks=pytest.mark.endurance)]
)
def test_the_answer_holds_the_cheapest_changes_there_are(
    scorer: Scorer, booster: lightgbm.Booster, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(offers, "LEVERS", COARSE)
    bound = scorer.policy.threshold - scorer.policy.margin
    seen = set()
    for client in not_reliable(scorer, count):
        asked = question(scorer, client)
        best = {
            names: enumeration(booster, asked).best(names, logit(bound), is_below=True, digits=2)
            for names in [*((name,) for name in BETTER_NAMES), *PAIR_NAMES]
        }
        cheap = cheapest_of_each_kind(
            {names: one.cost for names, one in best.items() if one.cost is not None}
        )

        found = offers.of(asked, str(scorer.decide(client)["prediction"]))

        told = [] if "Impossible" in found["sentence"] else [cost_of(one["change"]) for one in found["found"]]
        assert told == pytest.approx(cheap[:3], rel=1e-12)
        if not told:  # otherwise two levers are looked at only as far as they could be offered
            searched = {tuple(one["levers"]): one for one in found["searched"]}
            assert sorted(searched) == sorted(best)
            for names, one in best.items():
                assert (searched[names]["examined"], searched[names]["possible"]) == one[:2]
        seen.add(len(told))
    assert {0, 3} <= seen


def cheapest_of_each_kind(costs: dict[tuple[str, ...], float]) -> list[float]:
    """One for each set of amounts; two levers only if they cost less than 0.8 of either alone."""
    kinds: dict[frozenset[str], float] = {}
    for names, cost in costs.items():
        if len(names) == 1 or all(cost < 0.8 * costs.get((name,), math.inf) for name in names):
            kind = frozenset(RANGES[name][0] for name in names)
            kinds[kind] = min(cost, kinds.get(kind, math.inf))
    return sorted(kinds.values())


def cost_of(change: dict[str, dict[str, float]]) -> float:
    return sum(abs(one["to"] / one["from"] - 1) for one in change.values())


@pytest.mark.parametrize(
    "count", [15, pytest.param(60, marks=pytest.mark.slow), pytest.param(300, marks=pytest.mark.endurance)]
)
def test_of_a_reliable_client_the_nearest_change_for_the_worse_is_told(
    scorer: Scorer, booster: lightgbm.Booster, count: int
) -> None:
    bound, seen = scorer.policy.threshold - scorer.policy.margin, set()
    for client in reliable(scorer, count):
        asked = question(scorer, client)
        costs = [
            enumeration(booster, asked).best([name], logit(bound), is_below=False).cost
            for name in WORSE_NAMES
        ]

        worse = offers.of(asked, scorer.policy.reliable)["worse"]

        nearest = min((cost for cost in costs if cost is not None), default=None)
        assert near(worse and cost_of(worse["change"]), nearest)
        seen.add(worse is None)
    assert seen == {True, False}


def near(found: float | None, expected: float | None) -> bool:
    """Both are None, or both are the same number but for the order of a sum."""
    if found is None or expected is None:
        return found is expected
    return math.isclose(found, expected, rel_tol=1e-12, abs_tol=1e-12)


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_of_a_range_that_is_told_each_amount_gives_the_decision_and_the_next_one_does_not(
    scorer: Scorer,
) -> None:
    wanted, compared = Wanted(scorer.policy.lower_bound), 0
    for client in not_reliable(scorer, 30):
        asked = question(scorer, client)
        for lever in asked.loan.levers(LEVERS):
            change = asked.landscape([lever]).cheapest(wanted)
            if change is None or change.up_to is None:
                continue
            gives = amounts_that_give(asked, lever, wanted)
            nearest, farthest = change.amounts[lever.column], change.up_to
            low, high = sorted((nearest, farthest))
            beyond = [one for one in gives if (one > high if lever.most > 1 else one < low)]

            assert all(does for amount, does in gives.items() if low <= amount <= high)
            if beyond:
                assert not gives[min(beyond, key=lambda one: abs(one - farthest))]
            compared += 1
    assert compared > 20


def amounts_that_give(asked: Question, lever: loans.Lever, wanted: Wanted) -> dict[float, bool]:
    """Each amount of the lever, and whether it is offered and gives the decision."""
    landscape = asked.landscape([lever])
    found = {}
    for amount, is_offered in zip(
        landscape.amounts[lever.column][0].tolist(), landscape.is_offered[0].tolist(), strict=True
    ):
        decision = asked.scorer.decide(asked.client({lever.column: amount}))
        found[amount] = is_offered and wanted.holds(float(decision["probability_class_1"]))
    return found


# ---- What is answered


@pytest.mark.parametrize(
    "count", [25, pytest.param(100, marks=pytest.mark.slow), pytest.param(500, marks=pytest.mark.endurance)]
)
def test_every_offer_sent_to_predict_gets_the_promised_decision(
    scorer: Scorer, door: FlaskDoor, count: int
) -> None:
    sent, labels = 0, set()
    for client in not_reliable(scorer, 3 * count):
        for offer in ask(door, "/explain", json.dumps(client).encode()).content["offers"]["found"]:
            printed = json.dumps(offer["client"])
            decision = ask(door, "/predict", printed.encode()).content
            assert decision["prediction"] == offer["prediction"]
            assert f"la décision serait «\u00a0{offer['prediction']}\u00a0»." in offer["sentence"]
            sent += 1
            labels.add(offer["prediction"])
        if sent >= count:
            break
    assert sent >= count
    assert labels == {scorer.policy.reliable, scorer.policy.uncertain}


@pytest.mark.parametrize(
    "count", [40, pytest.param(400, marks=pytest.mark.slow), pytest.param(2_000, marks=pytest.mark.endurance)]
)
def test_labels_reasons_and_offers_never_disagree(scorer: Scorer, count: int) -> None:
    policy = scorer.policy
    better_than = {policy.risky: {policy.uncertain, policy.reliable}, policy.uncertain: {policy.reliable}}
    for client in reference_clients(scorer, count):
        found = explained(scorer, client)
        label, offers = found["decision"]["prediction"], found["offers"]
        for offer in offers["found"]:
            assert offer["prediction"] in better_than[label]
            assert_less_is_asked_for(offer["change"])
            assert guarded(scorer, offer["client"]) <= guarded(scorer, client)
        assert len({frozenset(one["change"]) for one in offers["found"]}) == len(offers["found"]) <= 3
        is_kept = offers["sentence"].startswith(f"La décision est «\u00a0{policy.reliable}\u00a0».")
        assert is_kept == (label == policy.reliable)
        if offers["worse"] is not None:
            assert label == policy.reliable
            assert offers["worse"]["prediction"] != label


def assert_less_is_asked_for(change: dict[str, dict[str, float]]) -> None:
    """Never: borrow more, buy a dearer good, earn less."""
    for column, (before, after) in ((name, one.values()) for name, one in change.items()):
        assert before != after
        assert column == "AMT_ANNUITY" or (after > before) == (column == "AMT_INCOME_TOTAL")


def guarded(scorer: Scorer, client: Client) -> set[tuple[str, str]]:
    """The warnings about a client's values."""
    return {
        (one["code"], one["feature"])
        for one in explained(scorer, client)["warnings"]
        if one["feature"] is not None
    }


def test_a_client_who_contradicts_himself_gets_no_offer_before_that_is_mended(
    door: FlaskDoor, documented_request: Client
) -> None:
    offers = ask(door, "/explain", json.dumps(documented_request).encode()).content["offers"]

    assert offers == {"sentence": offer_sentences.CONTRADICTORY, "found": [], "worse": None, "searched": []}


def test_an_income_that_is_told_is_the_one_that_counts(scorer: Scorer, door: FlaskDoor) -> None:
    client = next(one for one in not_reliable(scorer, 50) if one["ANNUITY_INCOME_PERCENT"] is not None)
    income = client["AMT_ANNUITY"] / client["ANNUITY_INCOME_PERCENT"]

    told, broken = (
        ask(door, "/explain", json.dumps(client | {"AMT_INCOME_TOTAL": said}).encode()).content
        for said in (income, 2 * income)
    )

    ranges = [one["ranges"] for one in told["offers"]["searched"]]
    assert max(one["AMT_INCOME_TOTAL"]["to"] for one in ranges if "AMT_INCOME_TOTAL" in one) <= 2 * income
    assert [one["feature"] for one in broken["warnings"] if one["code"] == "broken_identity"] == [
        "ANNUITY_INCOME_PERCENT"
    ]
    assert broken["offers"]["found"] == []


@pytest.mark.parametrize(
    ("ratio", "income"),
    [(0.24701, 100_000), (0.17964, 137_500), (0.45472, 54_320), (0.02, 1_235_000), (0.5, 49_401)],
)
def test_an_income_that_only_its_ratio_tells_is_the_roundest_that_gives_it(
    ratio: float, income: float
) -> None:
    """24 700.5 / 137 500 = 0.179640; 24 700.5 / 54 320 = 0.454722; 24 700.5 / 1 235 000 = 0.020000."""
    assert loans.loan_of({"AMT_ANNUITY": 24_700.5, "ANNUITY_INCOME_PERCENT": ratio}).income == income


@pytest.mark.parametrize("income", [-5, 0, 1e-300, True, "130000", 1e20, [1]])
def test_an_income_that_is_none_is_refused(
    door: FlaskDoor, documented_request: Client, income: object
) -> None:
    answer = ask(door, "/explain", json.dumps(documented_request | {"AMT_INCOME_TOTAL": income}).encode())

    assert answer.status == 400
    assert answer.error.endswith("'AMT_INCOME_TOTAL' doit être un montant positif, ou ne pas être donné")


# ---- Other models


def applications(count: int, seed: int) -> dict[str, Doubles]:
    """Clients whose figures hang together, each value missing for one in ten."""
    generator = np.random.default_rng(seed)
    credit = np.round(np.exp(generator.normal(12.8, 0.7, count)), 2)
    annuity = np.round(credit / generator.uniform(9, 38, count), 2)
    price, income = credit / generator.uniform(1, 1.4, count), generator.integers(40, 600, count) * 1_000
    days = -generator.integers(8_000, 25_000, count)
    columns: dict[str, Any] = {
        "AMT_CREDIT": credit,
        "AMT_ANNUITY": annuity,
        "AMT_GOODS_PRICE": price,
        "CREDIT_TERM": np.floor(credit / annuity * 1e4 + 0.5) / 1e4,
        "CREDIT_GOODS_RATIO": np.floor(credit / (price + 1e-5) * 1e4 + 0.5) / 1e4,
        "ANNUITY_INCOME_PERCENT": np.floor(annuity / income * 1e5 + 0.5) / 1e5,
        "ANNUITY_BIRTH_RATIO": np.floor(annuity / (abs(days) / 365) * 100 + 0.5) / 100,
        "DAYS_BIRTH": days.astype(float),
        "EXT_SOURCE_2": generator.random(count),
    }
    return {
        name: np.where(generator.random(count) < 0.1, np.nan, values).astype(np.float64)
        for name, values in columns.items()
    }


def trained_on(columns: dict[str, Doubles], trees: int = 30, **parameters: Any) -> Scorer:
    generator = np.random.default_rng(1)
    matrix = np.column_stack([*columns.values()])
    ranks = np.nan_to_num(np.argsort(np.argsort(matrix, axis=0), axis=0) / len(matrix))
    outcomes = ranks @ generator.normal(size=ranks.shape[1]) + generator.normal(size=len(ranks)) > 0
    data = lightgbm.Dataset(matrix, outcomes, feature_name=[*columns])
    usual = {"objective": "binary", "verbosity": -1, "num_threads": 1, "num_leaves": 12}
    text = lightgbm.train({**usual, **parameters}, data, trees).model_to_string()
    policy, source = DecisionPolicy(0.5, 0.05), {"kind": "test", "sha256": "0" * 64}
    return bundles.build(
        text, [*columns], policy, source=source, population=population.of_clients(columns)
    ).scorer()


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"zero_as_missing": True},
        pytest.param({"use_missing": False}, marks=pytest.mark.slow),
        pytest.param({"sigmoid": 2.0}, marks=pytest.mark.slow),
        pytest.param(
            {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6, "feature_fraction": 0.7},
            marks=pytest.mark.slow,
        ),
        pytest.param({"num_leaves": 200, "min_data_in_leaf": 1}, marks=pytest.mark.slow),
    ],
    ids=["plain", "zero as missing", "missing as zero", "sigmoid of 2", "forest", "large trees"],
)
def test_the_scores_of_all_points_are_those_of_the_model(parameters: dict[str, Any]) -> None:
    """For clients who lack some values, too."""
    columns = applications(3_000, seed=0)
    scorer = trained_on(columns, **parameters)
    generator, compared = np.random.default_rng(2), 0
    for place in range(40):
        client = {name: float(values[place]) for name, values in columns.items()}
        if any(math.isnan(client[name]) for name in set(client) - scorer.nullable):
            continue
        asked = question(scorer, client)
        levers = [*asked.loan.levers(LEVERS)]
        for some in [*((lever,) for lever in levers), *loans.pairs(levers)]:
            landscape = asked.landscape(some)
            for point in generator.integers(0, landscape.log_odds.size, 20):
                amounts = {
                    name: float(np.broadcast_to(values, landscape.log_odds.shape).flat[point])
                    for name, values in landscape.amounts.items()
                }
                probability = scorer.decide(asked.client(amounts))["probability_class_1"]
                found = 1 / (1 + math.exp(-landscape.log_odds.flat[point]))
                assert math.isclose(found, float(probability), rel_tol=1e-12)
                compared += 1
    assert compared > 200


WORSE_OF = {"less_credit": "more_credit", "cheaper_good": "dearer_good", "more_income": "less_income"}


@pytest.mark.parametrize(
    ("changed", "levers"),
    [
        ({}, {"less_credit", "longer_term", "shorter_term", "cheaper_good", "more_income"}),
        ({"AMT_CREDIT": None}, {"more_income"}),
        ({"AMT_CREDIT": None, "CREDIT_TERM": None}, {"longer_term", "shorter_term", "more_income"}),
        ({"AMT_ANNUITY": None}, {"cheaper_good"}),
        ({"AMT_GOODS_PRICE": None}, {"longer_term", "shorter_term", "more_income"}),
        ({"AMT_GOODS_PRICE": 0.0}, {"longer_term", "shorter_term", "more_income"}),
        ({"AMT_ANNUITY": 0.0}, {"cheaper_good"}),
        ({"AMT_CREDIT": -200_000.0}, {"longer_term", "shorter_term", "cheaper_good", "more_income"}),
        ({"DAYS_BIRTH": 0.0}, {"less_credit", "cheaper_good", "more_income"}),
        ({"ANNUITY_INCOME_PERCENT": None}, {"less_credit", "longer_term", "shorter_term", "cheaper_good"}),
        ({"ANNUITY_INCOME_PERCENT": 0.0}, {"less_credit", "cheaper_good"}),
    ],
    ids=[
        "all known",
        "credit unknown",
        "credit and term unknown",
        "annuity unknown",
        "price unknown",
        "price of 0",
        "annuity of 0",
        "credit below 0",
        "born today",
        "income unknown",
        "endless income",
    ],
)
def test_an_amount_that_is_not_known_or_is_no_money_is_no_lever(changed: Client, levers: set[str]) -> None:
    columns = applications(3_000, seed=0)
    whole = np.flatnonzero(~np.isnan(np.column_stack([*columns.values()])).any(axis=1))[0]
    client = {name: float(values[whole]) for name, values in columns.items()} | changed
    scorer = trained_on(columns)

    found = explained(scorer, client)["offers"]

    searched = {name for one in found["searched"] for name in one["levers"]}
    is_told = found["sentence"] != offer_sentences.CONTRADICTORY
    assert {one.name for one in question(scorer, client).loan.levers(LEVERS)} == levers
    assert not is_told or searched in (levers, {WORSE_OF.get(name, name) for name in levers})


def test_a_model_without_amounts_has_reasons_and_says_that_nothing_can_change() -> None:
    columns = {name: applications(2_000, seed=0)[name] for name in ("DAYS_BIRTH", "EXT_SOURCE_2")}

    found = explained(trained_on(columns), {"DAYS_BIRTH": -12_000, "EXT_SOURCE_2": 0.1})

    assert found["offers"] == offers.none(offer_sentences.NO_LEVERS)
    assert len(found["contributions"]) == 2


def test_that_an_unknown_annuity_keeps_changes_from_being_looked_at_is_said(scorer: Scorer) -> None:
    [client] = with_label(scorer, scorer.policy.risky, count=1)

    found = explained(scorer, client | {"AMT_ANNUITY": None})["offers"]

    assert found["found"] == []
    assert found["sentence"].endswith(
        "Sans connaître l’échéance et le revenu, d’autres changements n’ont pas pu être examinés."
    )


def test_a_client_of_whom_no_amount_is_known_is_told_so() -> None:
    columns = applications(2_000, seed=0)

    found = explained(trained_on(columns), dict.fromkeys(columns))

    assert found["offers"] == offers.none(offer_sentences.NOTHING_KNOWN)


def test_a_model_too_large_to_be_searched_is_explained_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = applications(2_000, seed=0)
    client = {name: None if name in IDENTITIES else float(np.nanmedian(columns[name])) for name in columns}
    monkeypatch.setattr(leaves, "MOST_STEPS", 100)

    found = explained(trained_on(columns), client)

    assert found["offers"] == offers.none(offer_sentences.NOT_SEARCHED)
    assert found["reasons"]["for"] or found["reasons"]["against"]


def test_a_tree_that_is_one_long_chain_is_refused_at_once() -> None:
    """The steps to its leaves would be as many as the square of them."""
    depth = 20_000
    chain = Tree([0] * depth, [float(n) for n in range(depth)], [8] * depth, [], [], [0.0] * (depth + 1))
    chain = chain._replace(left=[~n for n in range(depth)], right=[*range(1, depth), ~depth])

    with pytest.raises(leaves.TooManyLeaves):
        leaves.Leaves.of_trees([chain])
