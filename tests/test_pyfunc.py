"""The registered model behind MLflow's own pyfunc: the same doubles, each version by its own rules."""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from mlflow_model.bundle import bundles
from mlflow_model.bundle.bundles import SCORING_SOURCE, Bundle
from mlflow_model.bundle.scoring import OUTPUT_COLUMNS, DecisionPolicy
from mlflow_model.handover.card import ModelCard
from mlflow_model.registry import registration
from tests.conftest import FEATURES, random_clients

CLIENTS = random_clients(300, seed=11)


def load(version: int = 1) -> Any:
    return mlflow.pyfunc.load_model(f"models:/scoring-client/{version}")


def test_mlflow_gives_the_seven_columns_with_the_booster_s_probabilities(
    registered: Path, bundle: Bundle
) -> None:
    answers = load().predict(CLIENTS)

    assert list(answers.columns) == list(OUTPUT_COLUMNS)
    expected = bundle.scorer().probabilities(CLIENTS.to_numpy())
    assert np.array_equal(answers["probability_class_1"].to_numpy(), expected)


def test_a_margin_overrides_the_policy_for_one_call(registered: Path) -> None:
    model = load()

    overridden = model.predict(CLIENTS, params={"margin": 0.05})

    assert set(overridden["margin"]) == {0.05}
    assert set(overridden["lower_bound"]) == {0.2}
    assert set(model.predict(CLIENTS)["margin"]) == {0.02}


@pytest.mark.parametrize("margin", [-1.0, 0.2500001, float("nan"), float("inf")])
def test_a_bad_margin_is_refused(registered: Path, margin: float) -> None:
    with pytest.raises(ValueError, match="la marge doit être un nombre compris entre 0 et min"):
        load().predict(CLIENTS, params={"margin": margin})


@pytest.mark.parametrize("value", [None, np.nan, np.inf])
def test_a_lying_null_or_an_infinite_value_is_refused(registered: Path, value: float | None) -> None:
    clients = CLIENTS.assign(AMT_CREDIT=value).astype(float)

    with pytest.raises(ValueError, match="ligne 1 : la feature 'AMT_CREDIT'"):
        load().predict(clients)


def test_the_documented_client_is_decided_on_as_a_frame_of_integers_too(
    registered: Path, bundle: Bundle, documented_request: dict[str, float]
) -> None:
    assert {type(value) for value in documented_request.values()} == {int, float}

    answers = load().predict(pd.DataFrame([documented_request]))

    assert answers.iloc[0].to_dict() == bundle.scorer().decide(documented_request)


@pytest.mark.parametrize("value", [True, "0.5"])
def test_what_predict_refuses_is_refused_here_too(
    registered: Path, documented_request: dict[str, float], value: object
) -> None:
    with pytest.raises(ValueError, match="la feature 'EXT_SOURCE_1' doit être un nombre ou null"):
        load().predict(pd.DataFrame([documented_request | {"EXT_SOURCE_1": value}]))


def test_versions_with_other_policies_and_other_rules_answer_each_by_its_own(
    registered: Path, bundle: Bundle
) -> None:
    rules = SCORING_SOURCE.read_bytes().replace(b"1.0 - probabilities", b"0.0 * probabilities")
    other = bundles.build(
        bundle.files["model.txt"].decode(),
        FEATURES,
        DecisionPolicy(0.5),
        source=bundle.source,
        scoring_source=rules,
    )
    registration.register(other, ModelCard("other rules"))

    first, second, again = load(1), load(2), load(1)

    assert set(second.predict(CLIENTS)["probability_class_0"]) == {0.0}
    assert set(second.predict(CLIENTS)["optimal_threshold"]) == {0.5}
    assert first.predict(CLIENTS).equals(again.predict(CLIENTS))
    assert set(again.predict(CLIENTS)["optimal_threshold"]) == {0.25}


def test_a_changed_file_is_refused_at_load(registered: Path) -> None:
    (code,) = registered.glob("mlartifacts/models/m-*/artifacts/artifacts/bundle/scoring.py")
    code.write_bytes(code.read_bytes() + b"\n")

    with pytest.raises(ValueError, match=r"scoring\.py does not match the bundle's manifest"):
        load()
