"""Fixtures of the tests of promotions."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from mlflow_model.bundle.bundles import Bundle
from promotion import comparison
from promotion.comparison import Difference
from quality import bootstrap
from tests.promotion_support import compared, portfolio


@pytest.fixture(scope="module")
def twins(bundle: Bundle) -> Difference:
    """A model beside itself, on clients of whom nothing but the approval is compared."""
    found = compared(bundle.scorer(), bundle.scorer(), portfolio(50, TRUE_PROBABILITY=np.full(50, 0.1)))
    return replace(found, changes=[change for change in found.changes if change.name == comparison.APPROVED])


@pytest.fixture(scope="module")
def few_resamplings() -> Iterator[None]:
    """For tests of what a command does with its figures: these are as right with fewer, only less exact."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap, "RESAMPLINGS", 100)
        yield
