"""The documented pickle becomes a bundle, exact to the last bit, and nothing in it is executed."""

import hashlib
import itertools
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier

from mlflow_model.bundle.scoring import Booster
from mlflow_model.errors import LoadingFailed, PickleNotFound, PickleWithoutKeys
from mlflow_model.handover import card, model_files
from tests.conftest import FEATURES, random_clients, random_outcomes

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = random_clients(1500, seed=3)
OUTCOMES = random_outcomes(CLIENTS, seed=4)
SMALL: dict[str, Any] = {"n_estimators": 20, "num_leaves": 6, "verbosity": -1, "n_jobs": 1}


def classifier(**parameters: Any) -> LGBMClassifier:
    return LGBMClassifier(**SMALL | parameters).fit(CLIENTS, OUTCOMES)


def stopped_early() -> LGBMClassifier:
    stop = lightgbm.early_stopping(3, verbose=False)
    model = LGBMClassifier(**SMALL | {"n_estimators": 300, "learning_rate": 0.5})
    train, rest = slice(1000), slice(1000, None)
    return model.fit(
        CLIENTS[train], OUTCOMES[train], eval_X=CLIENTS[rest], eval_y=OUTCOMES[rest], callbacks=[stop]
    )


def bare_booster() -> lightgbm.Booster:
    data = lightgbm.Dataset(CLIENTS, OUTCOMES)
    return lightgbm.train({"objective": "binary", "verbosity": -1, "num_threads": 1}, data, 15)


def with_a_best_iteration() -> lightgbm.Booster:
    """A booster as `keep_training_booster` leaves it: it holds all trees and predicts with the first ones."""
    booster = bare_booster()
    booster.best_iteration = 7
    return booster


def with_a_best_iteration_of_numpy() -> lightgbm.Booster:
    booster = bare_booster()
    booster.best_iteration = np.int64(7)  # type: ignore[assignment]
    return booster


def nameless() -> LGBMClassifier:
    return LGBMClassifier(**SMALL).fit(CLIENTS.to_numpy(), OUTCOMES)


MODELS: dict[str, Any] = {
    "classifier": classifier(),
    "class weights": classifier(class_weight="balanced"),
    "scale_pos_weight": classifier(scale_pos_weight=5.0),
    "dart": classifier(boosting_type="dart"),
    "stopped early": stopped_early(),
    "generic names": nameless(),
    "booster": bare_booster(),
    "best iteration": with_a_best_iteration(),
    "best iteration of numpy": with_a_best_iteration_of_numpy(),
}


def written(path: Path, protocol: int = 4, **content: Any) -> Path:
    document = {"model": MODELS["classifier"], "features": list(FEATURES), "optimal_threshold": 0.2} | content
    path.write_bytes(
        pickle.dumps({key: value for key, value in document.items() if value is not None}, protocol)
    )
    return path


def expected_probabilities(model: Any) -> np.ndarray:
    if isinstance(model, lightgbm.Booster):
        return np.asarray(model.predict(CLIENTS))
    return np.asarray(model.predict_proba(CLIENTS))[:, 1]


PROTOCOLS = (2, 3, 4, 5)


@pytest.mark.parametrize(
    ("name", "protocol"),
    [
        pytest.param(
            name, protocol, marks=[] if name == "classifier" or protocol == 4 else [pytest.mark.slow]
        )
        for name, protocol in itertools.product(MODELS, PROTOCOLS)
    ],
)
def test_the_score_is_the_original_s_to_the_last_bit(name: str, protocol: int, tmp_path: Path) -> None:
    model = MODELS[name]

    converted = model_files.read(written(tmp_path / "model.pkl", protocol, model=model))

    scores = Booster(converted.text, len(FEATURES)).probabilities(CLIENTS.to_numpy())
    assert np.array_equal(scores, expected_probabilities(model))


def test_only_the_trees_that_lightgbm_predicts_with_are_kept(tmp_path: Path) -> None:
    converted = model_files.read(written(tmp_path / "model.pkl", model=MODELS["best iteration"]))

    assert converted.text.count("\nTree=") == 7


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "threshold", [0.25, np.float64(0.25), np.float32(0.25), np.array(0.25, dtype=">f8")[()]], ids=repr
)
def test_a_threshold_may_be_a_python_or_a_numpy_float(threshold: Any, protocol: int, tmp_path: Path) -> None:
    path = written(tmp_path / "model.pkl", protocol, optimal_threshold=threshold, margin=threshold)

    policy = model_files.read(path).policy()

    assert (policy.threshold, policy.margin) == (0.25, 0.25)


DAMAGED_SECTIONS = {
    "metrics that are a list": "metrics: [1, 2]",
    "a metric that is a word": "metrics: {auc: good}",
    "a metric that is nothing": "metrics: {auc: }",
    "a metric that is no number": "metrics: {auc: .nan}",
    "a metric beyond all doubles": f"metrics: {{auc: {'9' * 400}}}",
    "a policy that is a word": "policy: cheap",
    "a policy with a date": "policy: {since: 2026-01-01}",
    "a parameter without a name": "parameters: {1: 2}",
    "a parameter of an empty name": 'parameters: {"": 2}',
    "a metric that is a path": "metrics: {../x: 2}",
    "a parameter of two lines": 'parameters: {"a\\nb": 2}',
}


@pytest.mark.parametrize("damage", DAMAGED_SECTIONS)
def test_a_damaged_card_of_this_very_pickle_is_refused(damage: str, tmp_path: Path) -> None:
    pickle_path = written(tmp_path / "model.pkl")
    digest = hashlib.sha256(pickle_path.read_bytes()).hexdigest()
    section = DAMAGED_SECTIONS[damage]
    text = f"---\npickle_sha256: {digest}\n{section}\n---\n# Card\n"
    (tmp_path / "model.md").write_text(text)

    with pytest.raises(
        LoadingFailed, match=f"la rubrique « {section.partition(':')[0]} » de la fiche « model.md »"
    ):
        card.beside(pickle_path, digest)


ALIASES = "x: &x0 [1]\n" + "".join(
    f"x{level}: &x{level} [{', '.join([f'*x{level - 1}'] * 10)}]\n" for level in range(1, 9)
)
DAMAGED = {
    "no YAML": b"policy: :",
    "a conflict of a merge": b"<<<<<<< HEAD",
    "deep": b"parameters: {x: " + 700 * b"[" + 700 * b"]" + b"}",
    "aliases of aliases": ALIASES.encode(),
    "not UTF-8": b"text: \xff",
    "very long": b"text: " + 2**20 * b"x",
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_card_of_this_very_pickle_that_cannot_be_read_is_refused(damage: str, tmp_path: Path) -> None:
    pickle_path = written(tmp_path / "model.pkl")
    digest = hashlib.sha256(pickle_path.read_bytes()).hexdigest()
    header = f"pickle_sha256: {digest}\n".encode() + DAMAGED[damage]
    (tmp_path / "model.md").write_bytes(b"---\n" + header + b"\n---\n# Card\n")

    with pytest.raises(
        LoadingFailed, match=r"la fiche « model.md » (est corrompue|dépasse 1 Mio) ; refaites la"
    ):
        card.beside(pickle_path, digest)


def test_a_line_of_the_header_may_end_in_dashes(tmp_path: Path) -> None:
    pickle_path = written(tmp_path / "model.pkl")
    digest = hashlib.sha256(pickle_path.read_bytes()).hexdigest()
    card = f"---\npickle_sha256: {digest}\ncommand: a command ---\nmetrics: {{auc: 0.7}}\n---\n# Card\n"
    (tmp_path / "model.md").write_text(card)

    _, read = model_files.convert(pickle_path)

    assert (read.text, read.metrics) == ("# Card\n", {"auc": 0.7})


def test_without_a_margin_there_is_no_grey_zone_but_the_threshold(tmp_path: Path) -> None:
    assert model_files.read(written(tmp_path / "model.pkl")).policy().margin == 0.0


def test_the_features_may_be_a_tuple(tmp_path: Path) -> None:
    assert model_files.read(written(tmp_path / "model.pkl", features=FEATURES)).features == FEATURES


def test_other_keys_are_ignored(tmp_path: Path) -> None:
    path = written(tmp_path / "model.pkl", metrics=pd.DataFrame({"auc": [0.7]}), date="2024-01-01")

    assert model_files.read(path).threshold == 0.2


def test_the_digest_of_the_pickle_goes_into_the_bundle(tmp_path: Path) -> None:
    path = written(tmp_path / "model.pkl")

    bundle, _ = model_files.convert(path)

    assert bundle.source == {"kind": "pickle", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def test_an_operator_s_threshold_and_margin_take_the_pickle_s_place(tmp_path: Path) -> None:
    bundle, _ = model_files.convert(written(tmp_path / "model.pkl"), threshold=0.4, margin=0.1)

    assert (bundle.policy["threshold"], bundle.policy["margin"]) == (0.4, 0.1)


def test_without_a_threshold_the_operator_is_asked_for_one(tmp_path: Path) -> None:
    path = written(tmp_path / "model.pkl", optimal_threshold=None)

    with pytest.raises(
        LoadingFailed, match="ne contient pas 'optimal_threshold' : donnez-le avec « --threshold »"
    ):
        model_files.convert(path)
    assert model_files.convert(path, threshold=0.3)[0].policy["threshold"] == 0.3


def test_an_absent_pickle_has_its_documented_sentence(tmp_path: Path) -> None:
    with pytest.raises(PickleNotFound, match=r"^Le fichier Pickle 'lgbm_final_model.pkl' est introuvable\.$"):
        model_files.read(tmp_path / "lgbm_final_model.pkl")


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadingFailed, match="illisible"):
        model_files.read(tmp_path / f"{'a' * 300}.pkl")


@pytest.mark.parametrize("document", [{"model": 1}, {"features": []}, {}, [1, 2], "model features", None])
def test_a_pickle_without_the_keys_has_its_documented_sentence(document: object, tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(document))

    with pytest.raises(PickleWithoutKeys) as refusal:
        model_files.read(path)

    assert str(refusal.value) == "Le fichier Pickle ne contient pas les bonnes clés ('model', 'features')."


AUDITED = """
import sys
content = sys.stdin.buffer.read()
from mlflow_model.handover import arrays, inert
seen = []
sys.addaudithook(lambda event, _: seen.append(event))
inert.whole(content, arrays.completed)
print(sorted(set(seen)))
"""


def test_reading_names_a_dangerous_function_without_resolving_or_calling_it(tmp_path: Path) -> None:
    payload = b"cos\nsystem\n(S'touch " + str(tmp_path / "canary").encode() + b"'\ntR."

    audited = subprocess.run(
        [sys.executable, "-c", AUDITED], input=payload, cwd=ROOT, capture_output=True, check=True
    )

    assert audited.stdout.strip() == b"[]"
    assert not (tmp_path / "canary").exists()


def test_a_classifier_whose_scores_may_be_infinite_is_refused(tmp_path: Path) -> None:
    """The leaves of both trees are finite, but their sum is not."""
    booster = lightgbm.train(
        {"objective": "binary", "verbosity": -1, "num_threads": 1}, lightgbm.Dataset(CLIENTS, OUTCOMES), 2
    )
    for tree in range(2):
        booster.set_leaf_output(tree, 0, 1.7e308)

    with pytest.raises(LoadingFailed, match="infinie"):
        model_files.convert(written(tmp_path / "model.pkl", model=booster))
