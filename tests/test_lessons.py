"""What models are fitted on: some clients without their history, and outcomes or true probabilities."""

import numpy as np
import pandas as pd
import pytest

from training.protocol import candidates, experiment, lessons
from training.protocol.experiment import Settings
from training.protocol.policy import margin_rule

CLIENTS = pd.DataFrame(
    {
        **{name: np.arange(4_000.0) for name in candidates.MODEL_FEATURES},
        "TARGET": np.arange(4_000) % 2,
    },
    index=pd.RangeIndex(100_000, 104_000),
)
HISTORY = [
    "DEBT_CREDIT_RATIO",
    "INSTA_AMT_PAYMENT",
    "INSTA_NUM_INSTALMENT_VERSION",
    "POS_CNT_INSTALMENT_FUTURE",
]


def test_the_history_of_a_share_of_the_clients_is_hidden_whole_and_nothing_else_is() -> None:
    shown = lessons.without_some_history(CLIENTS, 0.25, seed=3)

    hidden = shown[HISTORY].isna()
    assert hidden.any(axis=1).mean() == pytest.approx(0.25, abs=0.03)
    assert (hidden.any(axis=1) == hidden.all(axis=1)).all()
    assert shown.drop(columns=HISTORY).equals(CLIENTS.drop(columns=HISTORY))
    assert shown[~hidden.any(axis=1)].equals(CLIENTS[~hidden.any(axis=1)])
    assert lessons.without_some_history(CLIENTS, 0.0, seed=3).equals(CLIENTS)


def test_a_client_of_probability_p_counts_p_times_as_a_default_and_else_as_a_repayment() -> None:
    truth = pd.Series(np.linspace(0, 1, 4_000), CLIENTS.index)

    learnt = lessons.of_probabilities(CLIENTS.iloc[:3], truth, 0.0, seed=0)

    assert learnt.weights is not None
    assert learnt.outcomes.tolist() == [1, 1, 1, 0, 0, 0]
    np.testing.assert_array_equal(learnt.weights, [*truth.iloc[:3], *(1 - truth.iloc[:3])])
    assert learnt.features["AMT_CREDIT"].tolist() == [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]


def test_only_a_candidate_that_learns_from_probabilities_is_given_them() -> None:
    """All but five defaulted, and all probabilities are 0.1."""
    target = CLIENTS.assign(TARGET=np.repeat([0, 1], [5, 3_995]))
    truth = pd.Series(0.1, CLIENTS.index)
    settings = Settings(margin_rule("0.02"), hidden_share=0.0)

    found = [
        candidates.probabilities(
            experiment.fitted(candidates.lightgbm("any", truth=truth if learns else None), target, settings),
            target,
        ).mean()
        for learns in (True, False)
    ]

    assert found == pytest.approx([0.1, 0.999], abs=0.005)
