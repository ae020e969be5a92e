"""The shipped model: its seed gives it again, and it is as good on unseen clients as its card says."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from features import aggregate, raw_tables
from mlflow_model.bundle.scoring import Scorer
from mlflow_model.handover import model_files
from quality import measures
from quality.scores import ScoredClients
from training.protocol import candidates, experiment, partition, policy
from training.protocol.experiment import Settings
from training.protocol.policy import margin_rule
from training.synthetic import writing

PICKLE = Path(__file__).parents[1] / "models" / "lgbm_final_model.pkl"
FULL_SIZE = 307_511


@pytest.fixture(scope="module")
def portfolio(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """All labelled clients of the portfolio that the card names, with their true default probability."""
    folder = tmp_path_factory.mktemp("full") / "portfolio"
    writing.write_portfolio(FULL_SIZE, 0, folder)
    features = aggregate.client_features(raw_tables.read(folder).by_name).drop_null(raw_tables.LABEL)
    truth = pd.read_parquet(folder / "true_probabilities.parquet").set_index(raw_tables.KEY)
    clients = features.to_pyarrow().to_pandas().set_index(raw_tables.KEY).join(truth)
    shutil.rmtree(folder)
    return clients


@pytest.fixture(scope="module")
def shipped() -> Scorer:
    built, _ = model_files.convert(PICKLE)
    return built.scorer()


@pytest.fixture(scope="module")
def split(portfolio: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    parts = partition.by_chance(portfolio, seed=0)
    return portfolio.iloc[parts.development], portfolio.iloc[parts.test]


@pytest.mark.endurance
def test_training_again_gives_the_shipped_trees(split: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    development, _ = split

    settings = experiment.Settings(policy.margin_rule("0.02"), seed=0)
    truth = development["TRUE_PROBABILITY"]
    candidate = candidates.lightgbm("LightGBM, fitted on probabilities", truth=truth)
    model = experiment.fitted(candidate, development, settings)

    shipped_text = model_files.convert(PICKLE)[0].files["model.txt"].decode()
    assert _trees(model.booster_.model_to_string()) == _trees(shipped_text)


def _trees(text: str) -> str:
    """The model's text without the parameters at its end."""
    return re.sub(r"\nparameters:.*", "", text, flags=re.DOTALL)


@pytest.mark.slow
def test_on_unseen_clients_it_is_nearly_as_good_as_the_truth(
    split: tuple[pd.DataFrame, pd.DataFrame], shipped: Scorer
) -> None:
    _, test = split

    probabilities = shipped.probabilities(shipped.matrix(test))

    scored = ScoredClients(test[raw_tables.LABEL], probabilities)
    best = ScoredClients(test[raw_tables.LABEL], test["TRUE_PROBABILITY"].to_numpy())
    assert measures.auc(scored.distribution()) >= 0.765
    assert measures.auc(scored.distribution()) >= measures.auc(best.distribution()) - 0.008
    assert scored.calibration_error(scored.distribution()) <= 0.006


@pytest.mark.slow
def test_the_card_s_figures_are_those_of_the_test_set(
    split: tuple[pd.DataFrame, pd.DataFrame], shipped: Scorer
) -> None:
    _, test = split
    header = yaml.safe_load(PICKLE.with_suffix(".md").read_text().split("---\n", 2)[1])

    probabilities = shipped.probabilities(shipped.matrix(test))

    scored = ScoredClients(test[raw_tables.LABEL], probabilities)
    assert header["command"].startswith(f"python -m training --clients {FULL_SIZE} --seed 0")
    assert header["metrics"]["auc"] == pytest.approx(measures.auc(scored.distribution()), abs=1e-9)
    assert header["metrics"]["test_clients"] == len(test)


@pytest.mark.parametrize(
    "threshold", [0.05, 0.9, *(pytest.param(one, marks=pytest.mark.slow) for one in (0.1, 0.2, 0.3, 0.5))]
)
def test_it_can_be_given_any_other_threshold(threshold: float) -> None:
    bundle, _ = model_files.convert(PICKLE, threshold=threshold)

    assert bundle.scorer().policy.threshold == threshold


def test_it_accepts_missing_history(shipped: Scorer) -> None:
    assert {"DEBT_CREDIT_RATIO", "INSTA_AMT_PAYMENT", "POS_CNT_INSTALMENT_FUTURE", "EXT_SOURCE_1"} <= (
        shipped.nullable
    )


@pytest.mark.slow
def test_shuffled_outcomes_cannot_be_learnt(portfolio: pd.DataFrame) -> None:
    some = portfolio.iloc[:40_000]
    shuffled = np.random.default_rng(0).permutation(some[raw_tables.LABEL])

    guessed = experiment.out_of_fold(
        candidates.lightgbm("LightGBM"),
        some.assign(**{raw_tables.LABEL: shuffled}),
        Settings(margin_rule("0.02")),
        lambda _: None,
    )

    assert measures.auc(ScoredClients(shuffled, guessed).distribution()) == pytest.approx(0.5, abs=0.02)
