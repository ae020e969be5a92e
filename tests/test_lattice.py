"""The scores of a whole lattice at once, beside a walk through each tree for each point."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explain import lattice
from explain.leaves import Leaves
from features.identities import IDENTITIES
from mlflow_model.bundle.model_text import Tree
from mlflow_model.bundle.scoring import Doubles

FIXED, ROW, COLUMN, BOTH = range(4)
CUTS = {
    FIXED: (0.5,),
    ROW: (2.0, 3.5, 5.0, 7.0),
    COLUMN: (10.0, 20.0, 25.0, 40.0),
    BOTH: (0.05, 0.1, 0.2, 0.3),
}


class Node(NamedTuple):
    feature: int
    cut: float
    left: "Node | float"
    right: "Node | float"


def nodes() -> st.SearchStrategy[Node | float]:
    """Trees of any shape: also those that no training writes, whose splits exclude each other."""
    split = st.sampled_from([(feature, cut) for feature, cuts in CUTS.items() for cut in cuts])
    leaf: st.SearchStrategy[Node | float] = st.floats(-5, 5)

    def above(inner: st.SearchStrategy[Node | float]) -> st.SearchStrategy[Node | float]:
        return st.builds(lambda at, left, right: Node(at[0], at[1], left, right), split, inner, inner)

    return st.recursive(leaf, above)


def walked(node: Node | float, row: Doubles) -> float:
    while isinstance(node, Node):
        node = node.left if row[node.feature] <= node.cut else node.right
    return node


def written(root: Node | float) -> Tree:
    """In LightGBM's order: a split comes after its parent."""
    splits: list[Node] = []
    leaves: list[float] = []
    children: list[list[int]] = []

    def place(node: Node | float) -> int:
        if not isinstance(node, Node):
            leaves.append(node)
            return ~(len(leaves) - 1)
        number = len(splits)
        splits.append(node)
        children.append([0, 0])
        children[number] = [place(node.left), place(node.right)]
        return number

    place(root)
    return Tree(
        [one.feature for one in splits],
        [one.cut for one in splits],
        [8] * len(splits),
        [one[0] for one in children],
        [one[1] for one in children],
        leaves,
    )


def amounts(most: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, most), min_size=1, max_size=9, unique=True).map(sorted)


@settings(max_examples=300)
@given(
    roots=st.lists(nodes(), min_size=1, max_size=6),
    rows=amounts(9),
    columns=amounts(50),
    decimals=st.integers(0, 4),
    fixed=st.sampled_from([0.0, 1.0, np.nan]),
)
@pytest.mark.slow
def test_scores_are_those_of_a_walk_for_each_point(
    roots: list[Node | float], rows: list[int], columns: list[int], decimals: int, fixed: float
) -> None:
    """The ratio of row and column is rounded, so that it may be flat along whole rows."""
    above, below = np.array(rows, float).reshape(-1, 1), np.array(columns, float).reshape(1, -1)
    ratio = np.floor(above / below * 10.0**decimals + 0.5) / 10.0**decimals
    row = np.array([fixed, 0.0, 0.0, 0.0])

    leaves = Leaves.of_trees([written(root) for root in roots]).of_client(row, (ROW, COLUMN, BOTH))

    found = lattice.scores(leaves, {ROW: above, COLUMN: below, BOTH: ratio})

    expected = [
        [
            sum(walked(root, np.array([fixed, one, other, ratio[i, j]])) for root in roots)
            for j, other in enumerate(columns)
        ]
        for i, one in enumerate(rows)
    ]
    assert np.abs(found - expected).max() < 1e-12


def test_only_one_feature_may_depend_on_both() -> None:
    values = np.ones((2, 2))
    leaves = Leaves.of_trees([written(1.0)]).of_client(np.zeros(4), (ROW, BOTH))

    with pytest.raises(ValueError, match="one feature at the most"):
        lattice.scores(leaves, {ROW: values, BOTH: values})


def test_no_two_identities_tie_the_same_columns() -> None:
    ties = [(one.numerator, one.denominator) for one in IDENTITIES.values()]

    assert len(set(ties)) == len(ties)
