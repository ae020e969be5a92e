"""A version whose operator chose the policy shows the figures of that policy, and the training's as such."""

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from mlflow_model.handover import model_files
from promotion import own_policy
from quality.portfolio import Portfolio
from tests.command_line import register_py

ROOT = Path(__file__).resolve().parents[1]
PICKLE = ROOT / "models" / "lgbm_final_model.pkl"
REFERENCE = ROOT / "models" / "reference.parquet"


@pytest.mark.slow
def test_the_version_its_run_and_its_tags_state_the_policy_that_was_given(store: Path) -> None:
    register_py("--margin", "0.03")
    version = MlflowClient().get_model_version("scoring-client", "1")
    run = MlflowClient().get_run(str(version.run_id))
    scorer = model_files.convert(PICKLE)[0].scorer()
    clients = pd.read_parquet(REFERENCE)
    scores = scorer.probabilities(clients[list(scorer.features)].to_numpy())
    grey = float(np.mean(np.abs(scores - 1 / 6) <= 0.03))

    card = mlflow.artifacts.load_text(f"runs:/{version.run_id}/model_card.md")
    assert card.startswith(str(version.description)[:4_000])
    assert "Threshold 0.166667, margin 0.03, given at the registration." in card
    assert f"| grey | {grey:.4f} |" in card.partition("# Model card: LightGBM")[0]
    assert run.data.metrics["reference.grey"] == grey
    assert version.tags["policy.margin"] == run.data.params["policy.margin"] == "0.03"


@pytest.mark.slow
def test_the_training_s_figures_stay_as_those_of_the_policy_in_the_pickle(store: Path) -> None:
    _, training = model_files.convert(PICKLE)

    register_py("--margin", "0.03")

    version = MlflowClient().get_model_version("scoring-client", "1")
    metrics = MlflowClient().get_run(str(version.run_id)).data.metrics
    assert metrics["auc"] == training.metrics["auc"]
    assert metrics["pickle_policy.grey_rate"] == training.metrics["grey_rate"]
    assert not {"grey_rate", "approval_rate_low", "cost_per_client"} & metrics.keys()


@pytest.mark.slow
def test_the_policy_in_the_pickle_keeps_its_card(store: Path) -> None:
    _, training = model_files.convert(PICKLE)

    register_py()

    version = MlflowClient().get_model_version("scoring-client", "1")
    assert training.text.startswith(str(version.description)[:100])


def test_the_cost_is_that_of_the_gate(tmp_path: Path) -> None:
    bundle, training = model_files.convert(PICKLE, margin=0.03)

    card = own_policy.card(bundle, training)

    portfolio = Portfolio.read(REFERENCE)
    scorer = bundle.scorer()
    scores = scorer.probabilities(np.column_stack([portfolio.columns[name] for name in scorer.features]))
    truth = portfolio.columns["TRUE_PROBABILITY"]
    cost = np.where(scores > 1 / 6, 1 - truth, 5 * truth).mean()
    assert card.metrics["reference.cost_per_client"] == cost


def test_a_reference_that_lacks_a_feature_leaves_the_figures_out(tmp_path: Path) -> None:
    other = tmp_path / "other.parquet"
    pd.read_parquet(REFERENCE).drop(columns="AMT_CREDIT").to_parquet(other)
    bundle, training = model_files.convert(PICKLE, margin=0.03)

    card = own_policy.card(bundle, training, other)

    assert "Its figures are not measured: the reference portfolio lacks AMT_CREDIT." in card.text
    assert not any(name.startswith("reference.") for name in card.metrics)
