"""When there is a warning: a value that the training has not seen, or that contradicts the others.

A warning is never a refusal. The decision stands; somebody should look at the values. The rules are for many
clients at once, so that they can be counted; explain/cautions.py says the warnings of one client in words.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from explain.population import Population
from features.identities import IDENTITIES, TOO_LARGE, Ratio
from mlflow_model.bundle.scoring import DecisionPolicy, Doubles

OUT_OF_RANGE, BROKEN_IDENTITY, RARE_NULL, NEAR_A_BOUND = (
    "out_of_range",
    "broken_identity",
    "rare_null",
    "near_a_bound",
)
CODES = (OUT_OF_RANGE, BROKEN_IDENTITY, RARE_NULL, NEAR_A_BOUND)
_RARE = 0.01
_NEAR = 0.005

Columns = Mapping[str, Doubles]
# The code, the feature (None where the decision itself is meant), and whether it holds for each client.
Warned = tuple[str, str | None, npt.NDArray[np.bool_]]


def of(
    columns: Columns, probabilities: Doubles, policy: DecisionPolicy, population: Population
) -> Iterator[Warned]:
    """The warnings that n clients can have. `columns`: by feature, of shape (n,), NaN where missing."""
    yield from _unseen(columns, population)
    yield from _contradictions(columns)
    distances = [np.abs(probabilities - bound) for bound in (policy.lower_bound, policy.upper_bound)]
    yield NEAR_A_BOUND, None, np.minimum(*distances) <= _NEAR


def _unseen(columns: Columns, population: Population) -> Iterator[Warned]:
    for feature, values in columns.items():
        others = population.get(feature)
        if others is None:
            continue
        low, high = others.ends
        yield OUT_OF_RANGE, feature, (values < low) | (values > high)
        if others.missing < _RARE:
            yield RARE_NULL, feature, np.isnan(values)


def _contradictions(columns: Columns) -> Iterator[Warned]:
    """Features that are not what the features say of which they are made."""
    for feature, identity in IDENTITIES.items():
        if {feature, identity.numerator, identity.denominator} <= columns.keys():
            yield (
                BROKEN_IDENTITY,
                feature,
                identity.contradicts(columns[feature], expected(identity, columns)),
            )


def expected(identity: Ratio, columns: Columns) -> Doubles:
    """The quotient, not rounded; NaN where a term is not known, or there is no quotient to speak of."""
    with np.errstate(all="ignore"):
        above, below = identity.terms(columns)
        quotient = above / below
    is_one = (columns[identity.denominator] != 0.0) & (np.abs(quotient) < TOO_LARGE)
    return np.where(is_one, quotient, np.nan)
