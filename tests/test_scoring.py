"""The sealed decision: labels and bounds, what is refused, LightGBM's own probabilities to the last bit."""

import math
import threading
from collections import defaultdict
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightgbm import LGBMClassifier

from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import OUTPUT_COLUMNS, Booster, DecisionPolicy, Refusal, Scorer
from tests.conftest import FEATURES, SOMETIMES_MISSING, random_clients

RELIABLE, GREY, RISKY = "Classe_0 (fiable)", "Zone grise (incertain)", "Classe_1 (risqué)"


@pytest.fixture(scope="module")
def scorer(bundle: Bundle) -> Scorer:
    return Scorer(bundle.files)


@pytest.mark.parametrize(
    ("threshold", "margin", "probability", "label"),
    [
        (0.5, 0.25, 0.25, GREY),
        (0.5, 0.25, math.nextafter(0.25, 0), RELIABLE),
        (0.5, 0.25, 0.75, GREY),
        (0.5, 0.25, math.nextafter(0.75, 1), RISKY),
        (0.5, 0.0, 0.5, GREY),
        (0.5, 0.0, math.nextafter(0.5, 0), RELIABLE),
        (0.5, 0.0, math.nextafter(0.5, 1), RISKY),
        (0.5, 0.5, 0.0, GREY),
        (0.5, 0.5, 1.0, GREY),
        (0.15, 0.0, 0.12, RELIABLE),
        (0.15, 0.0, 0.63, RISKY),
    ],
)
def test_both_bounds_belong_to_the_grey_zone(
    threshold: float, margin: float, probability: float, label: str
) -> None:
    policy = DecisionPolicy(threshold, margin)

    assert policy.label(probability) == label
    assert policy.decisions(np.array([probability]))["prediction"][0] == label


def test_a_decision_has_the_documented_columns_in_order() -> None:
    decision = DecisionPolicy(0.25, 0.125).decision(0.5)

    assert list(decision.items()) == [
        ("prediction", "Classe_1 (risqué)"),
        ("probability_class_1", 0.5),
        ("probability_class_0", 0.5),
        ("optimal_threshold", 0.25),
        ("margin", 0.125),
        ("lower_bound", 0.125),
        ("upper_bound", 0.375),
    ]


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.1, 1.1, math.nan, math.inf, True, "0.5", None, 10**400])
def test_a_threshold_is_a_number_between_0_and_1(threshold: Any) -> None:
    with pytest.raises(
        Refusal, match="le seuil « optimal_threshold » doit être un nombre strictement compris"
    ):
        DecisionPolicy(threshold)


@pytest.mark.parametrize(
    "margin", [-0.01, 0.2500001, 1.0, math.nan, math.inf, -math.inf, True, False, "0.1", [0.1], 10**400]
)
def test_a_margin_keeps_both_bounds_within_0_and_1(margin: Any) -> None:
    refusal = r"la marge doit être un nombre compris entre 0 et min\(seuil, 1 - seuil\)"
    with pytest.raises(Refusal, match=refusal):
        DecisionPolicy(0.25, margin)
    with pytest.raises(Refusal, match=refusal):
        DecisionPolicy(0.25).with_margin(margin)


thresholds = st.floats(0, 1, exclude_min=True, exclude_max=True)
shares = st.floats(0, 1)


def widest(threshold: float) -> float:
    return min(threshold, 1.0 - threshold)


@given(thresholds, shares, shares, shares)
def test_a_wider_margin_never_turns_reliable_into_risky_or_back(
    threshold: float, first: float, second: float, probability: float
) -> None:
    narrow, wide = sorted([first * widest(threshold), second * widest(threshold)])

    before = DecisionPolicy(threshold, narrow).label(probability)
    after = DecisionPolicy(threshold, wide).label(probability)

    assert after in {before, GREY}


@given(thresholds, shares)
def test_the_bounds_lie_around_the_threshold_within_0_and_1(threshold: float, share: float) -> None:
    policy = DecisionPolicy(threshold, share * widest(threshold))

    assert 0.0 <= policy.lower_bound <= threshold <= policy.upper_bound <= 1.0


@given(thresholds, shares, st.lists(shares, min_size=1, max_size=20))
def test_one_client_and_a_table_are_labelled_alike(
    threshold: float, share: float, probabilities: list[float]
) -> None:
    policy = DecisionPolicy(threshold, share * widest(threshold))

    table = policy.decisions(np.array(probabilities))

    rows = [policy.decision(probability) for probability in probabilities]
    assert [{name: table[name][row] for name in OUTPUT_COLUMNS} for row in range(len(rows))] == rows


def adversarial_values(model: LGBMClassifier, count: int) -> np.ndarray:
    """Values on, just below and just above each split; 0; and a third missing where missing was learnt."""
    trees = model.booster_.trees_to_dataframe()
    generator = np.random.default_rng(7)
    columns = []
    for name in FEATURES:
        splits = trees.loc[trees.split_feature == name, "threshold"].to_numpy(dtype=float)
        values = np.concatenate(
            [splits, np.nextafter(splits, -np.inf), np.nextafter(splits, np.inf), [0.0, -0.0]]
        )
        column = generator.choice(values, count)
        if name in SOMETIMES_MISSING:
            column[generator.random(count) < 1 / 3] = np.nan
        columns.append(column)
    return np.column_stack(columns)


def test_probabilities_are_the_booster_s_own_on_20_000_rows(trained: LGBMClassifier, scorer: Scorer) -> None:
    rows = adversarial_values(trained, 20_000)

    probabilities = scorer.probabilities(rows)

    assert np.array_equal(probabilities, np.asarray(trained.booster_.predict(rows)))


def test_raw_scores_are_the_booster_s_own(trained: LGBMClassifier, scorer: Scorer) -> None:
    rows = adversarial_values(trained, 2_000)

    expected = np.asarray(trained.booster_.predict(rows, raw_score=True))
    assert np.array_equal(scorer.raw_scores(rows), expected)


def test_one_client_at_a_time_is_scored_as_in_a_table(trained: LGBMClassifier, scorer: Scorer) -> None:
    rows = adversarial_values(trained, 2_000)

    alone = [
        scorer.decide(dict(zip(FEATURES, row, strict=True)))["probability_class_1"] for row in rows.tolist()
    ]

    assert alone == np.asarray(trained.booster_.predict(rows)).tolist()


def test_threads_decide_at_once_without_mixing_their_clients(trained: LGBMClassifier, scorer: Scorer) -> None:
    rows = adversarial_values(trained, 400)
    expected = np.asarray(trained.booster_.predict(rows)).tolist()
    answers: dict[int, list[object]] = {}

    def decide(number: int) -> None:
        clients = [dict(zip(FEATURES, row, strict=True)) for row in rows.tolist()]
        answers[number] = [scorer.decide(client)["probability_class_1"] for client in clients]

    threads = [threading.Thread(target=decide, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(answers.values()) == [expected] * 6


def test_null_is_accepted_exactly_where_the_model_learnt_missing_values(scorer: Scorer) -> None:
    assert scorer.nullable == SOMETIMES_MISSING


def test_a_feature_that_no_tree_uses_has_learnt_no_missing_value() -> None:
    values = np.column_stack([np.where(np.arange(400) % 3, np.arange(400.0), np.nan), np.full(400, np.nan)])
    data = lightgbm.Dataset(values, np.arange(400) % 400 > 200, feature_name=["used", "unused"])
    booster = lightgbm.train({"objective": "binary", "verbosity": -1, "num_threads": 1}, data, 3)
    files = {
        "model.txt": booster.model_to_string().encode(),
        "features.json": b'["used", "unused"]',
        "policy.json": b'{"threshold": 0.5, "margin": 0.0, "labels": {}}',
    }

    assert Scorer(files).nullable == {"used"}


def test_a_null_is_scored_as_lightgbm_scores_a_missing_value(
    trained: LGBMClassifier, scorer: Scorer, documented_request: dict[str, Any]
) -> None:
    client = documented_request | {"EXT_SOURCE_1": None, "EXT_SOURCE_3": math.nan}

    frame = pd.DataFrame([client], columns=list(FEATURES), dtype=float)
    expected = float(trained.booster_.predict(frame)[0])
    assert scorer.decide(client)["probability_class_1"] == expected


REFUSED = {
    "a boolean": (True, "'AMT_CREDIT' doit être un nombre, et non un booléen"),
    "a numpy boolean": (np.bool_(True), "'AMT_CREDIT' doit être un nombre, et non un booléen"),
    "a text": ("123456", "'AMT_CREDIT' doit être un nombre, et non un texte"),
    "a list": ([1.0], "'AMT_CREDIT' doit être un nombre, et non une liste"),
    "an object": ({"a": 1}, "'AMT_CREDIT' doit être un nombre, et non un objet"),
    "bytes": (b"1", "'AMT_CREDIT' doit être un nombre, et non une valeur d’un autre type"),
    "infinity": (math.inf, "'AMT_CREDIT' doit être un nombre fini"),
    "minus infinity": (-math.inf, "'AMT_CREDIT' doit être un nombre fini"),
    "an integer beyond doubles": (10**400, "'AMT_CREDIT' doit être un nombre fini"),
    "an integer of 25 digits": (1234567890123456789012345, "'AMT_CREDIT' est un entier trop grand"),
    "2**53 + 1": (2**53 + 1, "'AMT_CREDIT' est un entier trop grand"),
    "null": (None, "'AMT_CREDIT' ne peut pas être null"),
    "NaN": (math.nan, "'AMT_CREDIT' ne peut pas être null"),
    "numpy NaN": (np.float32("nan"), "'AMT_CREDIT' ne peut pas être null"),
}


@pytest.mark.parametrize(("value", "detail"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_a_number_is_refused_by_name(
    scorer: Scorer, documented_request: dict[str, Any], value: Any, detail: str
) -> None:
    client = documented_request | {"AMT_CREDIT": value}

    with pytest.raises(Refusal) as refusal:
        scorer.decide(client)

    assert refusal.value.detail.startswith(f"la feature {detail}")
    assert "123456" not in refusal.value.detail


@pytest.mark.parametrize(("value", "detail"), REFUSED.values(), ids=REFUSED)
def test_a_table_refuses_the_same_values_and_names_the_row(
    scorer: Scorer, documented_request: dict[str, Any], value: Any, detail: str
) -> None:
    table: dict[str, Any] = {name: [number] * 3 for name, number in documented_request.items()}
    cells = np.empty(3, dtype=object)
    cells[:] = [1.0, value, 1.0]

    with pytest.raises(Refusal) as refusal:
        scorer.decide_table(table | {"AMT_CREDIT": cells})

    assert refusal.value.detail.startswith(f"ligne 2 : la feature {detail}")
    assert refusal.value.row == 1


@pytest.mark.parametrize(
    "column",
    [
        np.array([True, False]),
        np.array(["1", "2"]),
        np.array([1.0, np.inf]),
        np.array([np.nan, 1.0]),
        [[1.0], [2.0]],
    ],
    ids=["booleans", "texts", "infinity", "lying nulls", "two dimensions"],
)
def test_a_column_of_a_wrong_type_is_refused(
    scorer: Scorer, documented_request: dict[str, Any], column: Any
) -> None:
    table: dict[str, Any] = {name: [number] * 2 for name, number in documented_request.items()}

    with pytest.raises(Refusal, match="'AMT_CREDIT'"):
        scorer.decide_table(table | {"AMT_CREDIT": column})


@pytest.mark.parametrize("value", [3, 3.0, np.float64(3), np.float32(3), np.int64(3), np.uint8(3)], ids=repr)
def test_every_kind_of_number_counts_as_that_number(
    scorer: Scorer, documented_request: dict[str, Any], value: Any
) -> None:
    given_number = scorer.decide(documented_request | {"INSTA_NUM_INSTALMENT_VERSION": value})

    assert given_number == scorer.decide(documented_request)


def test_missing_features_are_named_in_the_model_s_order(
    scorer: Scorer, documented_request: dict[str, Any]
) -> None:
    client = {name: documented_request[name] for name in reversed(FEATURES) if not name.startswith("EXT")}

    with pytest.raises(Refusal, match="Features manquantes") as refusal:
        scorer.decide(client)

    assert refusal.value.missing == ("EXT_SOURCE_1", "EXT_SOURCE_2", "EXT_SOURCE_3")


def test_a_mapping_that_makes_up_values_has_none_of_them_scored(
    scorer: Scorer, documented_request: dict[str, Any]
) -> None:
    client = defaultdict(float, documented_request)
    del client["AMT_CREDIT"]

    with pytest.raises(Refusal, match="Features manquantes") as refusal:
        scorer.decide(client)

    assert refusal.value.missing == ("AMT_CREDIT",)


def test_other_keys_and_their_order_change_nothing(
    scorer: Scorer, documented_request: dict[str, Any]
) -> None:
    shuffled = {"nom": "x", **dict(reversed(documented_request.items())), "TARGET": True}

    assert scorer.decide(shuffled) == scorer.decide(documented_request)


def test_an_empty_table_gives_no_decision(scorer: Scorer) -> None:
    decisions = scorer.decide_table(random_clients(0, seed=0))

    assert {name: len(column) for name, column in decisions.items()} == dict.fromkeys(OUTPUT_COLUMNS, 0)


def test_a_margin_of_one_call_is_forgotten_after_it(
    scorer: Scorer, documented_request: dict[str, Any]
) -> None:
    assert scorer.decide(documented_request, margin=0.1)["margin"] == 0.1
    assert scorer.decide(documented_request)["margin"] == 0.02


def test_a_text_that_lightgbm_refuses_is_an_error_in_words() -> None:
    with pytest.raises(RuntimeError, match="LightGBM: "):
        Booster("tree\nnot a model", 3)
