"""The dashboard, which holds no code of the other rooms, charges clients as they do."""

import numpy as np
import pytest

from dashboard import costs as of_the_dashboard
from quality.costs import Costs


@pytest.mark.parametrize("mistakes", [Costs(5.0, 1.0), Costs(8.0, 2.0), Costs(3.0, 7.0)])
def test_the_dashboard_expects_the_costs_that_training_gate_and_batch_expect(mistakes: Costs) -> None:
    threshold = 0.3
    probabilities = np.array(
        [0.0, 0.1, np.nextafter(threshold, 0), threshold, np.nextafter(threshold, 1), 1.0]
    )
    told = {"false_negative": mistakes.false_negative, "false_positive": mistakes.false_positive}

    of_default = of_the_dashboard.of_a_default(told)

    assert of_default is not None
    found = of_the_dashboard.expected(probabilities, threshold, of_default)
    wanted = mistakes.relative.of_each(probabilities, threshold, probabilities)
    np.testing.assert_allclose(found, wanted, rtol=1e-15)
    assert found[3] > found[2] > 0  # who stands on the threshold is charged as accepted
