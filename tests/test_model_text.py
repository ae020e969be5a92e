"""LightGBM's text is checked before LightGBM reads it: only whole binary classifiers pass."""

import re
from collections.abc import Callable, Iterator

import lightgbm
import numpy as np
import pytest

from mlflow_model.bundle import model_text
from mlflow_model.bundle.model_text import BadModelText
from mlflow_model.bundle.scoring import Booster
from tests import old_lightgbm

NAMES = ["a", "b", "c", "d"]
TREES = 12


def train(**parameters: object) -> lightgbm.Booster:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(600, 4))
    values[generator.random(600) < 0.3, 0] = np.nan
    outcomes = np.nan_to_num(values[:, 0]) + values[:, 1] + generator.normal(size=600) > 0
    data = lightgbm.Dataset(values, outcomes, feature_name=NAMES)
    settings = {"objective": "binary", "verbosity": -1, "num_leaves": 6, "num_threads": 1, "seed": 0}
    return lightgbm.train(settings | parameters, data, TREES)


TEXT = train().model_to_string()
SEPARATOR = TEXT.index("\n\nTree=0\n")
END = TEXT.index("end of trees")


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"boosting": "dart"},
        {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
        {"data_sample_strategy": "goss"},
        {"extra_trees": True},
        {"monotone_constraints": [1, 1, 0, -1]},
        {"min_data_in_leaf": 600},
        {"use_missing": False},
        {"zero_as_missing": True},
        {"is_unbalance": True},
        {"sigmoid": 2.0},
        {"num_leaves": 90, "min_data_in_leaf": 1},
    ],
    ids=lambda parameters: "-".join(map(str, parameters)) or "gbdt",
)
def test_every_kind_of_binary_classifier_passes(parameters: dict[str, object]) -> None:
    model_text.check(train(**parameters).model_to_string(), NAMES)


def test_a_split_of_the_missing_from_all_known_passes_and_predicts_what_lightgbm_predicts() -> None:
    random = np.random.default_rng(0)
    score = np.where(random.random(2000) < 0.5, np.nan, random.integers(0, 2, 2000) * 1.0)
    outcome = (random.random(2000) < np.where(np.isnan(score), 0.4, 0.1)).astype(int)
    data = lightgbm.Dataset(score[:, None], outcome, feature_name=["score"])
    trained = lightgbm.train({"objective": "binary", "num_leaves": 3, "verbosity": -1}, data, 3)
    text = trained.model_to_string()

    model_text.check(text, ["score"])

    assert re.search(r"^threshold=.*\binf\b", text, re.MULTILINE)
    rows = np.array([[np.nan], [0.0], [1.0], [1e308]])
    assert Booster(text, 1).probabilities(rows).tolist() == np.asarray(trained.predict(rows)).tolist()


def test_an_infinite_threshold_that_does_not_know_the_missing_is_refused() -> None:
    random = np.random.default_rng(0)
    score = random.random(2000)
    data = lightgbm.Dataset(score[:, None], (random.random(2000) < score).astype(int), feature_name=["score"])
    text = lightgbm.train({"objective": "binary", "verbosity": -1}, data, 1).model_to_string()
    head, threshold, rest = re.split(r"(?m)(?<=^threshold=)(\S+)", text, maxsplit=1)
    size = re.search(r"(?m)^tree_sizes=(\d+)$", head)
    assert size is not None
    resized = head.replace(size[0], f"tree_sizes={int(size[1]) - len(threshold) + len('inf')}")

    with pytest.raises(BadModelText, match="arbre 0"):
        model_text.check(f"{resized}inf{rest}", ["score"])


def test_a_model_without_feature_names_passes_under_any_names() -> None:
    generic = TEXT.replace("feature_names=a b c d", "feature_names=Column_0 Column_1 Column_2 Column_3")
    generic = re.sub(r"feature_importances:\n(?:.*=\d+\n)*", "feature_importances:\n", generic)

    model_text.check(generic, NAMES)


@pytest.mark.parametrize("parameters", [{}, {"min_data_in_leaf": 600}], ids=["gbdt", "trees of a leaf"])
@pytest.mark.parametrize("version", ["2.0.5", "2.0.10", "2.0.12 without sizes", "2.1", "2.2", "2.3", "3.0"])
def test_a_text_of_an_older_version_passes(version: str, parameters: dict[str, object]) -> None:
    model_text.check(old_lightgbm.text(version, train(**parameters)).decode(), NAMES)


def test_the_first_trees_of_a_text_without_sizes_predict_what_lightgbm_predicts_with_them() -> None:
    values = np.random.default_rng(1).normal(size=(200, 4))

    cut = model_text.first_trees(OLD, 5)

    model_text.check(cut, NAMES)
    expected = train().predict(values, num_iteration=5)
    assert np.array_equal(Booster(cut, 4).probabilities(values), expected)


@pytest.mark.parametrize("count", [1, 5, TREES])
def test_the_first_trees_predict_what_lightgbm_predicts_with_them(count: int) -> None:
    booster = train()
    values = np.random.default_rng(1).normal(size=(200, 4))

    cut = model_text.first_trees(booster.model_to_string(), count)

    model_text.check(cut, NAMES)
    assert cut.count("\nTree=") == count
    expected = booster.predict(values, num_iteration=count)
    assert np.array_equal(Booster(cut, 4).probabilities(values), expected)


def tree_line(key: str, tree: int = 2) -> re.Match[str]:
    found = re.compile(rf"^{key}=(.*)$", re.MULTILINE).search(TEXT, TEXT.index(f"Tree={tree}\n"))
    assert found is not None
    return found


def resized(text: str) -> str:
    """The text with correct tree_sizes, so that the damage must be found in the trees themselves."""
    body = text[text.index("\n\nTree=0\n") + 2 : text.index("end of trees")]
    sizes = [str(len(tree.encode())) for tree in re.split(r"(?<=\n\n\n)(?=Tree=)", body)]
    return re.sub(r"(?m)^tree_sizes=.*$", "tree_sizes=" + " ".join(sizes), text)


def with_values(key: str, change: Callable[[list[str]], list[str]]) -> str:
    line = tree_line(key)
    changed = f"{key}=" + " ".join(change(line[1].split(" ")))
    return resized(TEXT[: line.start()] + changed + TEXT[line.end() :])


def first_as(value: str) -> Callable[[list[str]], list[str]]:
    return lambda values: [value, *values[1:]]


def last_as(value: str) -> Callable[[list[str]], list[str]]:
    return lambda values: [*values[:-1], value]


ARRAYS = [
    "split_feature",
    "split_gain",
    "threshold",
    "decision_type",
    "left_child",
    "right_child",
    "leaf_value",
]
ARRAYS += ["leaf_value", "internal_value", "internal_weight", "internal_count"]
NO_DECISION = {
    "split_gain",
    "internal_value",
    "internal_weight",
}  # infinite for huge weights
NOT_FINITE = ["nan", "inf", "-inf"]
WRONG_NUMBERS = [
    "1e",
    "0x10",
    "1_0",
    "",
    "++1",
    "1,5",
    "None",
    "é",
    "9" * 400 + "x",
    " 1",
]


def damaged_arrays() -> Iterator[tuple[str, str]]:
    for key in ARRAYS:
        yield f"{key}: one value less", with_values(key, lambda values: values[:-1])
        yield f"{key}: one value more", with_values(key, lambda values: [*values, values[-1]])
        yield f"{key}: empty", with_values(key, lambda values: [])
        for number in WRONG_NUMBERS + ([] if key in NO_DECISION else NOT_FINITE):
            yield f"{key}: first is {number[:8]!r}", with_values(key, first_as(number))


def damaged_indices() -> Iterator[tuple[str, str]]:
    for key, wrong in {
        "split_feature": ["-1", "4", "99", "999999999", "1.5"],
        "decision_type": ["1", "3", "9", "12", "16", "-2", "2.0", "255"],
        "left_child": ["0", "99", "-99", "1000000000", "-1000000000", "1.0"],
        "right_child": ["0", "99", "-99", "4", "-7"],
        "threshold": ["1e999", "-1e999"],
        "leaf_value": ["1e999", "-1e999"],
        "leaf_count": ["1.5", "1e2"],
        "internal_count": ["1.5", "1e2"],
    }.items():
        for value in wrong:
            yield f"{key}: first is {value}", with_values(key, first_as(value))
            yield f"{key}: last is {value}", with_values(key, last_as(value))
    yield "a cycle", with_values("right_child", lambda values: ["0" if int(v) > 0 else v for v in values])
    yield "a digit that is not ASCII", with_values("right_child", last_as("\u0661"))
    yield "two parents", with_values("left_child", lambda values: [values[0]] * len(values))


def damaged_tree_lines() -> Iterator[tuple[str, str]]:
    keys = [*ARRAYS, "num_leaves", "num_cat", "leaf_weight", "leaf_count", "is_linear", "shrinkage"]
    for key in keys:
        line = tree_line(key)
        yield f"no {key}", resized(TEXT[: line.start()] + TEXT[line.end() + 1 :])
        yield f"{key} twice", resized(TEXT[: line.start()] + line[0] + "\n" + TEXT[line.start() :])
        yield f"{key} renamed", resized(TEXT[: line.start()] + "x" + TEXT[line.start() :])
    for key, value in [
        ("num_leaves", number) for number in ("0", "-1", "1", "5", "7", "999999999", "6.0", "")
    ]:
        yield f"{key}={value}", with_values(key, first_as(value))
    yield "a categorical split", with_values("num_cat", first_as("1"))
    yield "a linear tree", with_values("is_linear", first_as("1"))
    for value in ("nan", "inf", "", "1 1"):
        yield f"shrinkage={value}", with_values("shrinkage", first_as(value))


def damaged_headers() -> Iterator[tuple[str, str]]:
    head, rest = TEXT[:SEPARATOR], TEXT[SEPARATOR:]
    lines = head.split("\n")
    for number, line in enumerate(lines):
        key = line.partition("=")[0]
        yield f"header without {key}", "\n".join(lines[:number] + lines[number + 1 :]) + rest
        yield f"header with {key} twice", "\n".join([*lines[:number], line, *lines[number:]]) + rest
    reversed_range = re.sub(r"(?m)^feature_infos=\[[^]]*\]", "feature_infos=[9:-9]", TEXT)
    yield "a range that ends before it begins", reversed_range
    for old, new in [
        ("version=v4", "version=v9"),
        ("num_class=1", "num_class=3"),
        ("num_tree_per_iteration=1", "num_tree_per_iteration=2"),
        ("max_feature_idx=3", "max_feature_idx=7"),
        ("max_feature_idx=3", "max_feature_idx=-1"),
        ("objective=binary sigmoid:1", "objective=regression"),
        ("objective=binary sigmoid:1", "objective=multiclass num_class:3"),
        ("objective=binary sigmoid:1", "objective=binary sigmoid:0"),
        ("objective=binary sigmoid:1", "objective=binary sigmoid:-1"),
        ("objective=binary sigmoid:1", "objective=binary sigmoid:nan"),
        ("feature_names=a b c d", "feature_names=b a c d"),
        ("feature_names=a b c d", "feature_names=a b c"),
        ("feature_names=a b c d", "feature_names=a b c d e"),
        ("feature_names=a b c d", "feature_names=a b c TARGET"),
        ("feature_infos=", "feature_infos=1:2:3 "),
        ("feature_infos=[", "feature_infos=["[:-1]),
        ("\nfeature_infos", "\nmonotone_constraints=1 2 0 0\nfeature_infos"),
        ("\nfeature_infos", "\nmonotone_constraints=1 0\nfeature_infos"),
        ("\nfeature_infos", "\nunknown=1\nfeature_infos"),
        ("label_index=0", "label_index=x"),
        ("label_index=0", "label_index="),
        ("tree_sizes=", "tree_sizes=1 "),
        ("tree_sizes=", "tree_sizes=-5 "),
        ("tree_sizes=", "tree_sizes=999999999 "),
        ("tree_sizes=", "tree_sizes=x "),
    ]:
        yield f"{old} -> {new}", TEXT.replace(old, new, 1)


def damaged_wholes() -> Iterator[tuple[str, str]]:
    yield "empty", ""
    yield "not a model", "Traceback"
    yield "Windows line ends", TEXT.replace("\n", "\r\n")
    yield "a NUL byte", TEXT[:END] + "\x00" + TEXT[END:]
    yield "half a surrogate pair", TEXT.replace("feature_names=a b c d", "feature_names=a b c \ud800")
    yield "something before", " " + TEXT
    yield "something after", TEXT + "\nTree=99\n"
    yield "no end marker", TEXT.replace("end of trees\n", "")
    yield "no tree", TEXT[: SEPARATOR + 2] + TEXT[END:]
    yield "two trees swapped", TEXT.replace("Tree=1\n", "Tree=X\n").replace("Tree=2\n", "Tree=1\n")
    yield "the last tree missing", TEXT[: TEXT.index(f"Tree={TREES - 1}\n")] + TEXT[END:]
    yield "a tree twice", TEXT[:END] + TEXT[TEXT.index("Tree=11\n") : END] + TEXT[END:]
    yield "a damaged importance", TEXT.replace("\na=", "\na=x", 1)
    yield "a damaged parameter", TEXT.replace("[boosting: gbdt]", "boosting gbdt")
    yield "no version and no sizes", without("version|tree_sizes", TEXT)
    yield "no sizes in version 3", without("tree_sizes", TEXT.replace("version=v4", "version=v3"))
    for place in range(40):
        yield f"truncated at {place}/40", TEXT[: len(TEXT) * place // 40]
    for place in range(20):
        position = SEPARATOR + (END - SEPARATOR) * place // 20
        yield f"a line lost at {place}/20", TEXT[:position] + TEXT[TEXT.index("\n", position) + 1 :]


def without(keys: str, text: str) -> str:
    return re.sub(rf"(?m)^(?:{keys})=.*\n", "", text)


OLD = old_lightgbm.text("2.0.5", train()).decode()
OLD_END = OLD.index("\nfeature importances:")


def damaged_old_texts() -> Iterator[tuple[str, str]]:
    """Texts of LightGBM 2.0.5: no size tells how long a tree is."""
    yield "2.0, something after", OLD + "\nTree=99\n"
    yield "2.0, no tree", OLD[: OLD.index("Tree=0")] + OLD[OLD_END:]
    yield "2.0, the importances missing", OLD[:OLD_END]
    yield "2.0, a tree twice", OLD[:OLD_END] + OLD[OLD.index("Tree=11\n") :]
    yield "2.0, a tree missing", OLD[: OLD.index("Tree=4\n")] + OLD[OLD.index("Tree=5\n") :]
    yield "2.0, a version of now", OLD.replace("tree\n", "tree\nversion=v4\n", 1)
    yield "2.0, sizes without a version", OLD.replace("\n\nTree=0\n", "\ntree_sizes=1\n\nTree=0\n")
    yield "2.0, a key of later versions", OLD.replace("\nshrinkage=", "\nis_linear=0\nshrinkage=")
    yield "2.0, a parent less", OLD.replace("leaf_parent=0 ", "leaf_parent=", 1)
    yield "2.0, a parent that is no number", OLD.replace("leaf_parent=0", "leaf_parent=x", 1)
    yield "2.0, one line end less", OLD.replace("\n\n\nTree=3\n", "\n\nTree=3\n")
    yield "2.0, one line end more", OLD.replace("\n\n\nTree=3\n", "\n\n\n\nTree=3\n")
    for place in range(40):
        yield f"2.0, truncated at {place}/40", OLD[: OLD_END * place // 40]


MUTATIONS = {
    name: text
    for source in (
        *(damaged_arrays, damaged_indices, damaged_tree_lines, damaged_headers, damaged_wholes),
        damaged_old_texts,
    )
    for name, text in source()
    if text != TEXT
}


def test_there_are_at_least_200_mutations() -> None:
    assert len(MUTATIONS) >= 200


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_damaged_model_text_is_refused(name: str) -> None:
    with pytest.raises(BadModelText, match=r"^(le |la |les |l’)"):
        model_text.check(MUTATIONS[name], NAMES)


@pytest.mark.parametrize("features", [["b", "a", "c", "d"], ["a", "b", "c"], ["a", "b", "c", "d", "e"], []])
def test_a_text_of_other_features_is_refused(features: list[str]) -> None:
    with pytest.raises(BadModelText, match="features"):
        model_text.check(TEXT, features)
