"""Model files as people have them: each registers with its author's own doubles, or is called what it is."""

import pickle
import random
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest

from mlflow_model.errors import ModelUnavailable
from mlflow_model.handover import model_child
from tests import model_zoo, old_lightgbm
from tests.accepted_models import FORMS
from tests.model_zoo import CLIENTS, NAMES
from tests.refused_models import REFUSED

COLUMNS = {
    "a list": (NAMES, 5),
    "an Index": (pd.Index(NAMES), 5),
    "an Index, protocol 2": (pd.Index(NAMES), 2),
    "categories": (pd.CategoricalIndex(NAMES), 5),
    "an array": (np.array(NAMES), 5),
    "an array, protocol 2": (np.array(NAMES), 2),
    "an array of objects": (np.array(NAMES, dtype=object), 5),
}
# Their bytes are the same in each run, unlike those of a set or of gzip.
MUTATED = (
    *("the documented dictionary", "the same, protocol 0", "the same, protocol 2", "the same by joblib"),
    *("the same of LightGBM 2", "class weights", "a Pipeline by itself", "more data beside it"),
    *("LightGBM's text, version 4", "LightGBM's text, version 2.0.5", "a model that was trained further"),
)


# One file of each kind is read each day, the other 130 in `make proofs`: each takes a process of its own.
DAILY_FORMS = frozenset(
    {
        "the same, protocol 0",
        "the same by joblib, zlib",
        "the same through gzip",
        "columns as an Index",
        "a Booster in the dictionary",
        "False / True, of which 1 is named",
        "the same of LightGBM 2",
        "a Pipeline by itself",
        "a classifier by itself, by joblib",
        "LightGBM's text, version 4",
        "LightGBM's text, version 2.0.5",
    }
)
DAILY_REFUSED = frozenset(
    {
        "a classifier without a threshold",
        "a dictionary with other keys",
        "a scaler beside the model",
        "two pickles in one file",
        "a column twice",
        "three classes",
        "a custom objective",
        "a Pipeline with a scaler",
        "a calibrated classifier",
        "XGBoost",
        "code by cloudpickle",
        "a Git LFS pointer",
        "a pickle cut short",
        "a damaged tree",
    }
)


def kept_daily(names: Iterable[str], daily: Container[str]) -> list[Any]:
    return [pytest.param(name, marks=[] if name in daily else [pytest.mark.slow]) for name in names]


def test_the_daily_files_are_some_of_all() -> None:
    assert FORMS.keys() > DAILY_FORMS
    assert REFUSED.keys() > DAILY_REFUSED


@pytest.mark.parametrize("name", kept_daily(FORMS, DAILY_FORMS))
def test_a_form_that_registers_gives_its_author_s_doubles(name: str, tmp_path: Path) -> None:
    specimen = FORMS[name]

    scores = model_zoo.bundle_of(specimen, tmp_path).scorer().probabilities(CLIENTS.to_numpy())

    assert scores.tolist() == specimen.expected().tolist()


@pytest.mark.parametrize("name", kept_daily(REFUSED, DAILY_REFUSED))
def test_another_file_is_refused_and_only_a_damaged_one_is_called_damaged(name: str, tmp_path: Path) -> None:
    specimen = REFUSED[name]

    with pytest.raises(ModelUnavailable) as refusal:
        model_zoo.bundle_of(specimen, tmp_path)

    sentence = str(refusal.value)
    assert any(word in sentence for word in ("corromp", "tronqu")) == specimen.is_damaged
    assert "signalez" not in sentence


@pytest.mark.parametrize("version", ["3.0", "2.3", "2.2", "2.1", "2.0.12 without sizes", "2.0.10", "2.0.5"])
def test_lightgbm_itself_reads_the_rewritten_texts_with_the_same_doubles(version: str) -> None:
    read = lightgbm.Booster(model_str=old_lightgbm.text(version).decode())

    assert np.array_equal(read.predict(CLIENTS), model_zoo.booster().predict(CLIENTS))


@pytest.mark.parametrize(
    ("columns", "protocol"),
    [
        pytest.param(*COLUMNS[name], marks=[] if name in ("a list", "categories") else [pytest.mark.slow])
        for name in COLUMNS
    ],
    ids=COLUMNS,
)
def test_columns_of_which_a_bit_was_flipped_are_refused_and_not_our_error(
    columns: Any, protocol: int
) -> None:
    content = pickle.dumps(model_zoo.document(model="none", features=columns), protocol)

    for place in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8

        assert "refused" in model_child._answer(bytes(damaged), None), place


@pytest.mark.parametrize("name", kept_daily(MUTATED, MUTATED[:1] + MUTATED[-3:-1]))
def test_a_file_of_which_some_bytes_are_others_is_answered_and_not_our_error(name: str) -> None:
    content, chance = FORMS[name].content(), random.Random(name)  # noqa: S311 - the same in each run

    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)

        assert model_child._answer(bytes(damaged), None)
