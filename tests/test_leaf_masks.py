"""Many clients are scored by leaf masks: LightGBM's doubles to the last bit, or LightGBM itself."""

import json
import logging
import tracemalloc
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pytest

from mlflow_model.bundle import bundles
from mlflow_model.bundle.bundles import LEAF_MASKS_SOURCE, Bundle
from mlflow_model.bundle.leaf_masks import LeafMasks, NotByMasks
from mlflow_model.bundle.scoring import LEAF_MASKS, Scorer
from tests.leaf_mask_support import KINDS, WIDTH, Doubles, booster, clients, hard_rows, trained

SEALED = LEAF_MASKS_SOURCE.read_bytes()
LAST_LINE_OF_SCORES = b"        return scores  # "
POLICY = {"threshold": 0.5, "margin": 0.0, "labels": {}}


def files(model: lightgbm.Booster, masks: bytes | None = SEALED) -> dict[str, bytes]:
    content = {
        "model.txt": model.model_to_string().encode(),
        "features.json": json.dumps([f"Column_{place}" for place in range(WIDTH)]).encode(),
        "policy.json": json.dumps(POLICY).encode(),
    }
    return content if masks is None else content | {LEAF_MASKS: masks}


def changed(line: bytes) -> bytes:
    """The sealed masks with one line more, before the scores are returned."""
    assert SEALED.count(LAST_LINE_OF_SCORES) == 1
    return SEALED.replace(LAST_LINE_OF_SCORES, b"        " + line + b"\n" + LAST_LINE_OF_SCORES)


def same_bits(first: Doubles, second: Doubles) -> bool:
    return first.tobytes() == second.tobytes()


def assert_scored_as_lightgbm_does(kind: str, rows: int, seed: int) -> None:
    model = booster(kind)
    values = hard_rows(model.model_to_string(), rows, seed)
    masks, scorer = LeafMasks(model.model_to_string(), WIDTH), Scorer(files(model))

    assert scorer.differing_rows == 0
    assert same_bits(masks.raw_scores(values), np.asarray(model.predict(values, raw_score=True)))
    assert same_bits(scorer.probabilities(values), np.asarray(model.predict(values)))


@pytest.mark.parametrize("kind", KINDS)
def test_hard_rows_of_six_kinds_of_models_are_scored_as_lightgbm_scores_them(kind: str) -> None:
    assert_scored_as_lightgbm_does(kind, 20_000, seed=1)


@pytest.mark.endurance
@pytest.mark.parametrize("kind", KINDS)
def test_ten_million_hard_rows_are_scored_as_lightgbm_scores_them(kind: str) -> None:
    for seed in range(2, 19):
        assert_scored_as_lightgbm_does(kind, 100_000, seed)


def test_the_kinds_differ_where_they_are_to_differ() -> None:
    """Else the tests above would show less than they say."""
    texts = {kind: booster(kind).model_to_string() for kind in KINDS}
    of = {
        kind: {
            int(number) >> 2 & 3
            for line in text.split("\n")
            if line.startswith("decision_type=")
            for number in line.partition("=")[2].split()
        }
        for kind, text in texts.items()
    }

    assert 2 in of["missing values learnt"]
    assert 1 in of["zero_as_missing"]
    assert of["use_missing=false"] == {0}
    assert "num_leaves=64\n" in texts["64 leaves"]
    assert "\naverage_output\n" in texts["a forest"]
    probabilities = np.asarray(booster("scores of thousands").predict(clients()[0]))
    assert (probabilities == 0.0).any()


@pytest.mark.parametrize("order", ["C", "F"])
def test_any_number_of_rows_in_any_order_of_memory_has_the_same_scores(order: Any) -> None:
    model = booster("64 leaves")
    masks = LeafMasks(model.model_to_string(), WIDTH)
    values = hard_rows(model.model_to_string(), 8_000, seed=1)
    expected = np.asarray(model.predict(values, raw_score=True))

    for count in (*range(20), 1_637, 1_638, 1_639, 1_645, 1_646, 3_277, 8_000):
        assert same_bits(masks.raw_scores(np.array(values[:count], order=order)), expected[:count])


def test_tables_from_five_rows_up_are_scored_by_masks_and_smaller_ones_by_lightgbm() -> None:
    values = clients()[0]
    marked = Scorer(files(booster("a forest"), changed(b"scores += len(scores) < 250")))
    expected = np.asarray(booster("a forest").predict(values, raw_score=True))

    assert np.array_equal(marked.raw_scores(values[:5]), expected[:5] + 1.0)
    assert np.array_equal(marked.raw_scores(values[:4]), expected[:4])


def test_lightgbm_scores_where_one_bit_of_a_hard_row_differs() -> None:
    model, values = booster("missing values learnt"), clients()[0]

    scorer = Scorer(files(model, changed(b"scores[7] = np.nextafter(scores[7], 1.0)")))

    assert scorer.differing_rows == 1
    assert same_bits(scorer.raw_scores(values), np.asarray(model.predict(values, raw_score=True)))


def test_loading_says_once_how_many_hard_rows_differed(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    other = Bundle({**bundle.files, LEAF_MASKS: changed(b"scores[:3] += 1.0")}, bundle.manifest)

    with caplog.at_level(logging.WARNING, "scoring_client"):
        other.scorer()

    assert caplog.messages == ["3 hard rows differ by leaf masks: LightGBM scores all clients"]


def with_categories() -> lightgbm.Booster:
    values, outcomes = clients()
    values[:, 2] += 2
    data = lightgbm.Dataset(values, outcomes, categorical_feature=[2])
    return lightgbm.train({"objective": "binary", "verbosity": -1, "num_threads": 1}, data, 5)


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda: trained(num_leaves=65, min_data_in_leaf=1), "more than 64 leaves a tree"),
        (lambda: trained(linear_tree=True), "linear trees"),
        (with_categories, "categories"),
    ],
    ids=["65 leaves", "linear trees", "categories"],
)
def test_what_masks_do_not_express_is_scored_by_lightgbm(
    made: Callable[[], lightgbm.Booster], why: str
) -> None:
    model, values = made(), np.abs(np.nan_to_num(clients()[0]))

    with pytest.raises(NotByMasks, match=why):
        LeafMasks(model.model_to_string(), WIDTH)
    assert same_bits(Scorer(files(model)).probabilities(values), np.asarray(model.predict(values)))


def test_a_model_too_wide_or_with_too_many_cuts_is_left_to_lightgbm() -> None:
    text = booster("64 leaves").model_to_string()

    with pytest.raises(NotByMasks, match="features"):
        LeafMasks(text, 1_001)
    with pytest.raises(NotByMasks, match="masks of more than 128 MiB"):
        LeafMasks(text + "\nleaf_value=0.5" * 200_000, WIDTH)


def test_a_model_without_any_split_is_scored() -> None:
    keys = (
        "split_feature=",
        "threshold=",
        "decision_type=",
        "left_child=",
        "right_child=",
        "leaf_value=0.25",
    )

    assert (
        LeafMasks("tree\n\nTree=0\n" + "\n".join(keys), WIDTH).raw_scores(clients()[0][:9]).tolist()
        == [0.25] * 9
    )


def test_a_hundred_thousand_rows_need_no_more_memory_than_a_block() -> None:
    masks = LeafMasks(booster("missing values learnt").model_to_string(), WIDTH)
    values = np.zeros((100_000, WIDTH))
    masks.raw_scores(values[:10])
    tracemalloc.start()
    try:
        masks.raw_scores(values)
        _, highest = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert highest < 8 * len(values) + 3 * 2**20


def test_a_bundle_without_masks_is_scored_by_lightgbm(bundle: Bundle) -> None:
    assert LEAF_MASKS in bundles.FILES
    assert LEAF_MASKS not in bundles.FILES_OF[2]
    model, values = booster("zero_as_missing"), clients()[0]

    assert same_bits(Scorer(files(model, None)).probabilities(values), np.asarray(model.predict(values)))
