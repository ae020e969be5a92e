"""The intervals of figures among few clients."""

import math

import numpy as np
import pandas as pd
import pytest

from quality import bootstrap, measures
from quality.scores import Doubles, ScoredClients


@pytest.mark.filterwarnings("ignore:invalid value")
def test_resamplings_without_a_defaulter_are_left_out_of_an_interval() -> None:
    """Of 30 clients 2 defaulted: one resampling in eight draws neither, and has no AUC."""
    outcomes = pd.Series(np.repeat([1, 0], [2, 28]))
    scored = ScoredClients(outcomes, np.linspace(0.9, 0.1, 30))

    def measure(counts: Doubles | None) -> dict[str, float]:
        return {"auc": measures.auc(scored.distribution(counts))}

    found = bootstrap.intervals(30, 0, measure)["auc"]

    assert found.value == 1.0
    assert all(map(math.isfinite, found))
