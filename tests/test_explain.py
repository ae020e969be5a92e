"""POST /explain: contributions that are exact, reasons that do not contradict each other, warnings."""

import itertools
import json
import math
import re
from typing import Any

import lightgbm
import numpy as np
import pytest

from api.app import create_app
from api.deciding import service
from api.deciding.explained_client import Explanation
from api.deciding.places import Places, Room
from explain import cautions, explanation, population, reasons, wording
from explain.population import Distribution
from features.identities import IDENTITIES
from mlflow_model.bundle import bundles
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import DecisionPolicy, Scorer
from mlflow_model.errors import TooManyExplanations
from tests import servers
from tests.conftest import FEATURES
from tests.explain_support import Client, ask, explained, reference_clients
from tests.servers import FlaskDoor

pytest_plugins = ["tests.explain_fixtures"]


# ---- Contributions


@pytest.fixture(scope="module")
def scorer(shipped_scorer: Scorer) -> Scorer:
    return shipped_scorer


@pytest.fixture(scope="module")
def door(shipped_door: FlaskDoor) -> FlaskDoor:
    return shipped_door


def shapley(tree: dict[str, Any], values: np.ndarray) -> tuple[np.ndarray, float]:
    """Of one tree, by all subsets of its features. `values`: of shape (n, features). Also the mean."""
    features = sorted(used(tree))
    expectation = {
        frozenset(known): expected(tree, values, frozenset(known))
        for size in range(len(features) + 1)
        for known in itertools.combinations(features, size)
    }
    found, count, factorial = np.zeros(values.shape), len(features), math.factorial
    for feature in features:
        for known, before in expectation.items():
            if feature not in known:
                weight = factorial(len(known)) * factorial(count - len(known) - 1) / factorial(count)
                found[:, feature] += weight * (expectation[known | {feature}] - before)
    return found, float(expectation[frozenset()][0])


def used(node: dict[str, Any]) -> set[int]:
    if "leaf_value" in node:
        return set()
    return {node["split_feature"]} | used(node["left_child"]) | used(node["right_child"])


def expected(node: dict[str, Any], values: np.ndarray, known: frozenset[int]) -> np.ndarray:
    """The mean leaf where only these features are known: other splits are passed by the share of clients."""
    if "leaf_value" in node:
        return np.full(len(values), node["leaf_value"])
    sides = [node[side] for side in ("left_child", "right_child")]
    left, right = (expected(side, values, known) for side in sides)
    if node["split_feature"] not in known:
        few, many = (side.get("internal_count", side.get("leaf_count")) for side in sides)
        return (few * left + many * right) / (few + many)
    of_client = values[:, node["split_feature"]]
    goes_left = np.where(np.isnan(of_client), node["default_left"], of_client <= node["threshold"])
    return np.where(goes_left.astype(bool), left, right)


def test_contributions_are_the_shapley_values_of_each_tree(shipped: Bundle, scorer: Scorer) -> None:
    clients = reference_clients(scorer, 50)
    values = np.array([[*one.values()] for one in clients], dtype=np.float64)
    booster = lightgbm.Booster(model_str=shipped.files["model.txt"].decode())
    wanted, base = np.zeros(values.shape), 0.0
    for tree in booster.dump_model()["tree_info"]:
        of_tree, mean = shapley(tree["tree_structure"], values)
        wanted, base = wanted + of_tree, base + mean

    found = [explained(scorer, client) for client in clients]

    assert np.isnan(values).any()
    for row, one in enumerate(found):
        given = [part["log_odds"] for part in one["contributions"]]
        assert np.abs(np.array(given) - wanted[row]).max() < 1e-12
        assert abs(one["base_log_odds"] - base) < 1e-12


@pytest.mark.parametrize("count", [60, pytest.param(300, marks=pytest.mark.slow)])
def test_contributions_sum_to_the_score_and_points_to_the_probability(scorer: Scorer, count: int) -> None:
    for client in reference_clients(scorer, count):
        found = explained(scorer, client)
        parts = found["contributions"]

        total = math.fsum([found["base_log_odds"], *(part["log_odds"] for part in parts)])
        base = 1 / (1 + math.exp(-found["base_log_odds"]))
        assert abs(total - found["log_odds"]) < 1e-12
        assert base + math.fsum(part["points"] for part in parts) == pytest.approx(
            found["decision"]["probability_class_1"], abs=1e-12
        )


# ---- The answer


def test_an_explanation_holds_the_decision_of_predict_and_all_parts_in_order(
    door: FlaskDoor, documented_request: dict[str, float]
) -> None:
    body = json.dumps(documented_request).encode()

    decided, told = (ask(door, path, body) for path in ("/predict", "/explain"))

    content = told.content
    assert (decided.status, told.status) == (200, 200)
    assert [*content] == [
        "decision",
        "base_log_odds",
        "log_odds",
        "contributions",
        "reasons",
        "warnings",
        "offers",
    ]
    assert json.dumps(content["decision"], ensure_ascii=False).encode() == decided.body
    assert [part["feature"] for part in content["contributions"]] == list(FEATURES)
    assert [part["value"] for part in content["contributions"]] == [
        documented_request[name] for name in FEATURES
    ]


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"{", b'{"AMT_CREDIT": "x"}', b"\xff"])
def test_what_predict_refuses_is_refused_with_the_same_words(body: bytes, door: FlaskDoor) -> None:
    decided, told = (ask(door, path, body) for path in ("/predict", "/explain"))

    assert (told.status, told.body) == (decided.status, decided.body)


def test_explanations_are_made_one_at_a_time_and_nobody_waits_for_ever(
    scorer: Scorer, documented_request: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places(Room(1, 1, 0.05), TooManyExplanations)
    monkeypatch.setattr(Explanation, "places", places)
    asked = service.Service(servers.serving(scorer))
    arguments = ("application/json", None, json.dumps(documented_request).encode(), "id")

    with places.taken():
        refused = asked.explain(*arguments)
    answered = asked.explain(*arguments)

    assert (refused.status, refused.own_headers) == (503, (("Retry-After", "1"),))
    assert json.loads(refused.content) == {
        "error": "Trop d’explications sont demandées à la fois : réessayez dans une seconde."
    }
    assert answered.status == 200


def test_an_explanation_that_hangs_is_seen(
    scorer: Scorer, documented_request: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a batch that hangs is: the worker is then replaced."""
    asked, seen = service.Service(servers.serving(scorer)), []
    monkeypatch.setattr(Explanation, "seconds", 0.0)
    monkeypatch.setattr(explanation, "of", lambda *_: seen.append(asked.hangs))

    asked.explain("application/json", None, json.dumps(documented_request).encode(), "id")

    assert (seen, asked.hangs) == ([True], False)


def test_an_explanation_is_no_decision_in_the_counts(shipped: Bundle, documented_request: Client) -> None:
    app = create_app(servers.serving(shipped.scorer()))
    asked = FlaskDoor(app)
    ask(asked, "/explain", json.dumps(documented_request).encode())

    page = asked.send("GET", "/metrics").body.decode()

    assert re.search(r'^scoring_request\w+_count\{.*path="/explain".*\} 1(\.0)?$', page, re.MULTILINE)
    assert not re.search(r"^scoring_decisions_total\{", page, re.MULTILINE)


NOT_EXPLAINED = {
    "a version of before": lambda code: code.replace(
        b'def contributions(self, row: Sequence[float]) -> list[float]:\n        """What each',
        b'def of_today(self, row: Sequence[float]) -> list[float]:\n        """What each',
    ),
    "parts that do not sum to the score": lambda code: code.replace(b"list(result)", b"[*result[:-1], 0.0]"),
}


@pytest.mark.parametrize("kind", NOT_EXPLAINED)
def test_a_version_that_cannot_be_explained_decides_and_says_so(
    kind: str, bundle: Bundle, documented_request: Client
) -> None:
    code = NOT_EXPLAINED[kind](bundle.files["scoring.py"])
    text, policy = bundle.files["model.txt"].decode(), DecisionPolicy(0.25)
    other = bundles.build(text, FEATURES, policy, source=bundle.source, scoring_source=code)
    door, body = (
        FlaskDoor(create_app(servers.serving(other.scorer()))),
        json.dumps(documented_request).encode(),
    )

    decided, told = (ask(door, path, body) for path in ("/predict", "/explain"))

    assert code != bundle.files["scoring.py"]
    assert (decided.status, told.status) == (200, 501)
    assert told.error.startswith(
        "La version servie ne sait pas expliquer ses décisions ; réenregistrez le modèle "
    )


def test_a_model_of_features_that_nobody_described_is_explained_by_their_names() -> None:
    generator = np.random.default_rng(0)
    values = generator.uniform(size=(500, 2))
    data = lightgbm.Dataset(values, values[:, 0] > 0.5, feature_name=["AGE_OF_THE_CAPTAIN", "OTHER"])
    booster = lightgbm.train({"objective": "binary", "verbosity": -1, "num_threads": 1}, data, 20)
    source = {"kind": "test", "sha256": "0" * 64}
    built = bundles.build(
        booster.model_to_string(), booster.feature_name(), DecisionPolicy(0.5), source=source
    )

    found = explained(built.scorer(), {"AGE_OF_THE_CAPTAIN": 0.25, "OTHER": 0.5})

    assert found["reasons"]["for"][0]["sentence"].startswith(
        "Variable AGE_OF_THE_CAPTAIN de 0,25. Le risque diminue"
    )
    assert found["warnings"] == []


@pytest.mark.parametrize(
    "parameters",
    [
        {"sigmoid": 2.0},
        {"sigmoid": 0.1},
        {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6, "feature_fraction": 0.7},
        {"is_unbalance": True},
    ],
    ids=["sigmoid of 2", "sigmoid of 0.1", "forest", "weighted"],
)
def test_log_odds_and_points_are_those_of_the_probability(parameters: dict[str, Any]) -> None:
    """LightGBM's scores are not the log-odds of a forest, nor with another sigmoid."""
    generator = np.random.default_rng(0)
    values = generator.normal(size=(800, 2))
    data = lightgbm.Dataset(
        values, values @ [1, -2] + generator.normal(size=800) > 1, feature_name=["A", "B"]
    )
    usual = {"objective": "binary", "verbosity": -1, "num_threads": 1}
    text = lightgbm.train({**usual, **parameters}, data, 20).model_to_string()
    scorer = bundles.build(text, ["A", "B"], DecisionPolicy(0.5), source={"kind": "", "sha256": ""}).scorer()

    for row in values[:50].tolist():
        found = explained(scorer, dict(zip("AB", row, strict=True)))
        p = found["decision"]["probability_class_1"]
        base = 1 / (1 + math.exp(-found["base_log_odds"]))
        assert found["log_odds"] == pytest.approx(math.log(p / (1 - p)), abs=1e-9)
        assert base + math.fsum(one["points"] for one in found["contributions"]) == pytest.approx(p, abs=1e-9)


# ---- Reasons


@pytest.mark.parametrize("count", [100, pytest.param(400, marks=pytest.mark.slow)])
def test_reasons_never_contradict_each_other_nor_the_score(scorer: Scorer, count: int) -> None:
    for client in reference_clients(scorer, count):
        found = explained(scorer, client)
        speaking_for, against = found["reasons"]["for"], found["reasons"]["against"]
        both = [*speaking_for, *against]
        points = {part["feature"]: part["points"] for part in found["contributions"]}

        assert len({one["group"] for one in both}) == len(both)
        assert len(speaking_for) <= reasons.MOST >= len(against)
        assert all(one["points"] < 0 and "e risque diminue" in one["sentence"] for one in speaking_for)
        assert all(one["points"] > 0 and "e risque augmente" in one["sentence"] for one in against)
        for one in both:
            members = reasons.GROUPS[one["group"]]
            assert one["points"] == pytest.approx(math.fsum(points.get(name, 0.0) for name in members))
            assert points[one["feature"]] * one["points"] > 0


NO_OTHERS: dict[str, Distribution] = {}
AMONG = {"DAYS_BIRTH": Distribution(0.0, [-25_000.0 + 165 * step for step in range(101)])}


@pytest.mark.parametrize(
    ("feature", "value", "others", "sentence"),
    [
        ("DAYS_BIRTH", -8_700.0, AMONG, "Âge et papiers : âge de 23 ans, contre une médiane de 45 ans ; "),
        ("DAYS_BIRTH", -16_700.0, AMONG, "Âge et papiers : âge de 45 ans, près de la médiane (45 ans). "),
        ("EXT_SOURCE_3", math.nan, NO_OTHERS, "Scores externes : score externe 3 inconnu. "),
        ("CREDIT_TERM", 13.3, NO_OTHERS, "Crédit demandé : durée de 13,3 échéances. "),
        (
            "EXT_SOURCE_1",
            math.nan,
            {"EXT_SOURCE_1": Distribution(0.564, [0.5] * 101)},
            "Scores externes : score externe 1 inconnu, comme pour 56 % des clients. ",
        ),
        (
            "DEBT_CREDIT_RATIO",
            math.nan,
            {"DEBT_CREDIT_RATIO": Distribution(0.004, [0.5] * 101)},
            "Crédits ailleurs : part restant à rembourser des crédits pris ailleurs inconnue, ce qui est "
            "rare (0,4 % des clients). ",
        ),
    ],
)
def test_a_reason_says_the_value_and_where_it_stands(
    feature: str, value: float, others: dict[str, Distribution], sentence: str
) -> None:
    _, (reason,) = reasons.of([feature], [value], [0.031], others)

    plain = reason.sentence.replace("\u00a0", " ")
    assert plain.startswith(sentence)
    usual = "Avec les autres valeurs du dossier, le risque augmente de 3,1 points."
    assert plain.endswith(
        f". {usual}" if "près de la médiane" in plain else ". Le risque augmente de 3,1 points."
    )


def test_the_points_of_a_group_are_not_said_to_be_those_of_one_feature() -> None:
    scores = ["EXT_SOURCE_1", "EXT_SOURCE_2", "EXT_SOURCE_3"]

    _, (together,) = reasons.of(scores, [0.1, 0.2, 0.3], [0.02, 0.19, 0.23], NO_OTHERS)
    _, (alone,) = reasons.of(scores, [0.1, 0.2, 0.3], [0.0, 0.0, 0.23], NO_OTHERS)

    assert together.sentence.endswith(
        "score externe 3 de 0,30. Avec les autres scores externes, le risque augmente de 44,0 points."
    )
    assert alone.sentence.endswith("score externe 3 de 0,30. Le risque augmente de 23,0 points.")


def test_of_the_young_all_others_are_older() -> None:
    _, (reason,) = reasons.of(["DAYS_BIRTH"], [-8_000.0], [0.01], AMONG)

    assert "\u00a0; tous les clients sont plus âgés. " in reason.sentence


def test_a_value_that_is_said_as_the_median_is_near_it() -> None:
    others = {"CREDIT_TERM": Distribution(0.0, [13.301] * 51 + [13.34] * 50)}

    _, (reason,) = reasons.of(["CREDIT_TERM"], [13.31], [0.01], others)

    assert "durée de 13,3 échéances, près de la médiane (13,3 échéances)." in reason.sentence


def test_what_is_too_little_to_be_said_is_no_reason() -> None:
    assert reasons.of(["DAYS_BIRTH", "OTHER"], [1.0, 2.0], [0.0004, -0.0004], {}) == ([], [])


# ---- Words and numbers


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (wording.number(1_823_436.4), "1\u202f823\u202f436"),
        (wording.number(-0.2), "0"),
        (wording.number(-1.7e308), "\u22122e+308"),
        (wording.number(-3.14, 1), "\u22123,1"),
        (wording.percent(0.934), "93\u00a0%"),
        (wording.percent(0.004), "0,4\u00a0%"),
        (wording.percent(0.0), "0\u00a0%"),
        (wording.clients(0.994), "99\u00a0% des clients"),
        (wording.clients(0.996), "plus de 99\u00a0% des clients"),
        (wording.clients(1.0), "tous les clients"),
        (wording.clients(0.0001), "moins de 0,1\u00a0% des clients"),
        (wording.of("CREDIT_TERM").said(1.96), "2 échéances"),
        (wording.of("OTHER").said(1_234_567.0), "1\u202f234\u202f567"),
        (wording.of("OTHER").said(-0.25), "\u22120,25"),
        (wording.of("ANNUITY_BIRTH_RATIO").said(0.02), "0,02"),
        (wording.of("AMT_CREDIT").said(0.0), "0"),
        (wording.points(0.0199), "2,0 points"),
        (wording.points(-0.0194), "1,9 point"),
        (wording.of("CREDIT_TERM").said(1.0), "1 échéance"),
        (wording.of("DAYS_ID_PUBLISH").said(-200.0), "6 mois"),
        (wording.of("DAYS_BIRTH").said(-12_000.0), "32 ans"),
    ],
)
def test_numbers_are_said_as_in_french(said: str, text: str) -> None:
    assert said == text


def test_every_feature_of_the_catalogue_has_words_and_a_group() -> None:
    from features.catalogue import BY_NAME

    assert set(wording.WORDS) == set(BY_NAME)
    assert sorted(name for members in reasons.GROUPS.values() for name in members) == sorted(BY_NAME)


# ---- The population


@pytest.mark.parametrize(
    "values", [np.random.default_rng(0).normal(size=10_001), np.arange(10_001) % 7 // 2 * 1.5]
)
def test_the_shares_below_and_above_a_value_are_those_of_the_clients(values: np.ndarray) -> None:
    """Also where many have the same value: they are neither below nor above."""
    others = population.of_facts(population.of_clients({"x": values}))["x"]

    for value in (*values[:20], -0.3, 1.2):
        below, above = others.shares(float(value))
        assert below == pytest.approx((values < value).mean(), abs=0.011)
        assert above == pytest.approx((values > value).mean(), abs=0.011)
    assert (others.shares(-9.0), others.shares(9.0)) == ((0.0, 1.0), (1.0, 0.0))
    assert others.shares(float(values.max()))[0] < 1.0
    assert others.shares(float(values.min()))[1] < 1.0


@pytest.mark.parametrize(
    "facts",
    [
        None,
        [],
        {"x": 1},
        {"x": {"missing": 0.1}},
        {"x": {"missing": 0.1, "quantiles": [1, 2]}},
        {"x": {"missing": 0.1, "quantiles": [*range(100), 10**400]}},
        {"x": {"missing": 2, "quantiles": list(range(101))}},
        {"x": {"missing": 0.1, "quantiles": [*range(100), math.nan]}},
        {"x": {"missing": 0.1, "quantiles": [5, *range(100)]}},
        {"x": {"missing": 0.1, "quantiles": ["1"] * 101}},
    ],
)
def test_facts_that_are_no_population_are_none(facts: object) -> None:
    assert population.of_facts(facts) == {}


def test_a_feature_of_which_nothing_is_known_has_no_population() -> None:
    assert population.of_clients({"x": np.full(3, np.nan)}) == {}


# ---- Warnings


def test_the_documented_request_contradicts_itself(scorer: Scorer, documented_request: Client) -> None:
    found = explained(scorer, documented_request)["warnings"]

    term = next(one for one in found if (one["code"], one["feature"]) == ("broken_identity", "CREDIT_TERM"))
    assert term["sentence"] == (
        "Durée de 60 échéances, alors que le montant du crédit divisé par l’échéance donne 13,3 échéances."
    )


@pytest.mark.parametrize(
    ("feature", "given", "sentence"),
    [
        (
            "CREDIT_TERM",
            13.3,
            "Durée de 13,30, alors que le montant du crédit divisé par l’échéance donne 13,33.",
        ),
        (
            "CREDIT_GOODS_RATIO",
            1.111,
            "Crédit rapporté au prix du bien de 1,1110, alors que le montant du crédit divisé par le prix du "
            "bien donne 1,1111.",
        ),
    ],
)
def test_values_that_differ_in_later_digits_are_said_with_these(
    feature: str, given: float, sentence: str
) -> None:
    values = {"AMT_CREDIT": 200_000.0, "AMT_ANNUITY": 15_000.0, "AMT_GOODS_PRICE": 180_000.0, feature: given}

    (caution,) = cautions.of(values, 0.5, DecisionPolicy(0.2), {})

    assert caution.sentence == sentence


def test_a_value_just_beyond_an_end_is_told_apart_from_it() -> None:
    others = {"INSTA_AMT_PAYMENT": Distribution(0.0, [1_014.254 + step for step in range(101)])}

    (caution,) = cautions.of({"INSTA_AMT_PAYMENT": 1_014.252}, 0.5, DecisionPolicy(0.2), others)

    plain = caution.sentence.replace("\u202f", " ")
    assert plain == (
        "Paiement moyen des crédits passés de 1 014,252, hors de ce que l’entraînement a vu, "
        "de 1 014,254 à 1 114,25."
    )


def test_every_tie_can_be_said() -> None:
    """A model may have all columns of which a feature is made."""
    for feature, identity in IDENTITIES.items():
        values = {identity.numerator: 100.0, identity.denominator: 40.0, feature: 9.0}

        (caution,) = cautions.of(values, 0.5, DecisionPolicy(0.2), {})

        assert (caution.code, caution.feature) == ("broken_identity", feature)


@pytest.mark.parametrize("given", [200_000 / 15_000, round(200_000 / 15_000, 4)])
def test_a_tie_holds_at_full_precision_and_rounded(
    given: float, scorer: Scorer, documented_request: Client
) -> None:
    found = explained(scorer, {**documented_request, "CREDIT_TERM": given})["warnings"]

    assert ("broken_identity", "CREDIT_TERM") not in {(one["code"], one["feature"]) for one in found}


@pytest.mark.parametrize("annuity", [0.0, math.nan, 5e-324, 1e-300])
def test_a_tie_to_what_is_not_known_or_zero_is_no_contradiction(annuity: float) -> None:
    values = {"AMT_CREDIT": 200_000.0, "AMT_ANNUITY": annuity, "CREDIT_TERM": 60.0}

    assert cautions.of(values, 0.5, DecisionPolicy(0.2), {}) == []


@pytest.mark.parametrize("price", [0.0, -1e-5])
def test_a_price_of_nothing_has_no_ratio(price: float) -> None:
    values = {"AMT_CREDIT": 200_000.0, "AMT_GOODS_PRICE": price, "CREDIT_GOODS_RATIO": 1.1}

    assert cautions.of(values, 0.5, DecisionPolicy(0.2), {}) == []


@pytest.mark.parametrize(
    ("values", "code", "feature", "sentence"),
    [
        (
            {"DAYS_BIRTH": -35.0},
            "out_of_range",
            "DAYS_BIRTH",
            "Âge de 1 mois, hors de ce que l’entraînement a vu, de 23 ans à 68 ans.",
        ),
        (
            {"EXT_SOURCE_2": math.nan},
            "rare_null",
            "EXT_SOURCE_2",
            "Score externe 2 inconnu, ce qui est rare (0,2 % des clients).",
        ),
    ],
)
def test_what_the_training_has_not_seen_is_told(
    values: dict[str, float], code: str, feature: str, sentence: str
) -> None:
    others = {**AMONG, "EXT_SOURCE_2": Distribution(0.002, [0.5] * 101)}

    (caution,) = cautions.of(values, 0.5, DecisionPolicy(0.2), others)

    assert (caution.code, caution.feature) == (code, feature)
    assert caution.sentence.replace("\u00a0", " ") == sentence


@pytest.mark.parametrize(
    ("probability", "is_near"), [(0.1751, True), (0.2249, True), (0.2, False), (0.1, False)]
)
def test_a_probability_near_a_bound_is_told(probability: float, is_near: bool) -> None:
    found = cautions.of({}, probability, DecisionPolicy(0.2, 0.025), {})

    assert [one.code for one in found] == (["near_a_bound"] if is_near else [])
