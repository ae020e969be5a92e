"""What mistakes cost by the policy of a version, as the API tells it, and how that is said."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dashboard.numbers import fixed

Doubles = npt.NDArray[np.float64]


def of_a_default(told: Mapping[str, Any] | None) -> float | None:
    """How many refused clients who would repay cost as much as one accepted who does not; None: unknown."""
    found = [(told or {}).get(name) for name in ("false_negative", "false_positive")]
    lost, refused = (one if isinstance(one, int | float) and one > 0 else None for one in found)
    return lost / refused if lost and refused else None


def expected(probabilities: Doubles, threshold: float, of_default: float) -> Doubles:
    """Of each client, in refused clients who would repay, if the probabilities are right.

    As where the API counts costs, a client is charged by the side of the threshold; on it, as accepted.
    """
    return np.where(probabilities <= threshold, of_default * probabilities, 1.0 - probabilities)


def meaning(of_default: float) -> str:
    refusals = fixed(of_default, 0 if of_default == round(of_default) else 1)
    return (
        "Le coût se compte en bons payeurs refusés\u00a0: un crédit accordé qui finit en défaut coûte autant "
        f"que {refusals} refus de clients qui auraient remboursé."
    )
