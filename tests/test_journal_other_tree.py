"""The journal's tree beside pymerkle, which others wrote: the same roots and paths.

pymerkle is under the GPL and no dependency of ours. It is installed into a folder of this test, and answers
there in a process of its own. It counts places from 1.
"""

import json
import random
import subprocess
import sys
from typing import Any

import pytest

from journal import tree

OTHER = "pymerkle==7.0.0"
LARGEST, MOST = 260, 3_000
_ANSWER = """
import json, sys
from pymerkle import InmemoryTree, InvalidProof, verify_consistency

asked = json.load(sys.stdin)
other = InmemoryTree(algorithm="sha256")
for number in range(asked["size"]):
    other.append_entry(number.to_bytes(4, "big"))
inclusions = [other.prove_inclusion(place + 1, size) for place, size in asked["inclusions"]]


def holds(first, second):
    proof = other.prove_consistency(first, second)
    try:
        ours = (bytes.fromhex(asked["ours"][str(size)]) for size in (first, second))
        verify_consistency(*ours, proof)
    except InvalidProof:
        return False
    return True


answers = {
    "roots": [other.get_root(size).hex() for size in asked["roots"]],
    "inclusions": [proof.serialize()["path"] for proof in inclusions],
    "growths": [holds(*one) for one in asked["growths"]],
}
json.dump(answers, sys.stdout)
"""


@pytest.fixture(scope="module")
def subtree() -> tree.Subtree:
    """Of the largest tree, each computed once from the two below."""
    levels = [[tree.leaf(number.to_bytes(4)) for number in range(MOST)]]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([tree.node(left, right) for left, right in zip(below[::2], below[1::2], strict=False)])
    return lambda level, number: levels[level][number]


@pytest.fixture(scope="module")
def asked(subtree: tree.Subtree) -> dict[str, Any]:
    """All sizes up to LARGEST, all places and beginnings of the smaller ones, and some of the others."""
    chance = random.Random(23)  # noqa: S311 - the same questions at every run
    pairs = [(first, size) for size in range(1, 66) for first in range(size)]
    for most in (LARGEST, MOST):
        pairs += [(chance.randrange(size), size) for size in (chance.randrange(66, most) for _ in range(500))]
    sizes = sorted({*range(LARGEST + 1), *(one for pair in pairs for one in pair)})
    return {
        "size": MOST,
        "roots": sizes,
        "ours": {size: tree.root(size, subtree).hex() for size in sizes},
        "inclusions": pairs,
        "growths": [(first, size) for first, size in pairs if first],
    }


@pytest.fixture(scope="module")
def answered(asked: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("other")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", OTHER]
    if subprocess.run(install, capture_output=True, check=False).returncode:
        pytest.skip(f"pip cannot install {OTHER} here")
    said = subprocess.run(
        [python, "-c", _ANSWER], input=json.dumps(asked), capture_output=True, text=True, check=True
    )
    return json.loads(said.stdout)


def hexed(path: list[bytes]) -> list[str]:
    return [one.hex() for one in path]


@pytest.mark.endurance
def test_the_roots_of_all_sizes_are_the_same(asked: dict[str, Any], answered: dict[str, Any]) -> None:
    frontier, grown = tree.Frontier(), {0: tree.EMPTY.hex()}
    for number in range(MOST):
        frontier.extend([number.to_bytes(4)])
        grown[number + 1] = frontier.root().hex()

    assert [grown[size] for size in asked["roots"]] == answered["roots"]
    assert list(asked["ours"].values()) == answered["roots"]


@pytest.mark.slow
def test_the_paths_to_all_places_are_the_same(
    asked: dict[str, Any], answered: dict[str, Any], subtree: tree.Subtree
) -> None:
    """The other's path begins with the leaf itself."""
    ours = [
        [subtree(0, place).hex(), *hexed(tree.inclusion(place, size, subtree))]
        for place, size in asked["inclusions"]
    ]

    assert ours == answered["inclusions"]


@pytest.mark.slow
def test_each_proof_of_growth_holds_for_the_roots_of_the_other(
    asked: dict[str, Any], answered: dict[str, Any], subtree: tree.Subtree
) -> None:
    theirs = dict(zip(asked["roots"], map(bytes.fromhex, answered["roots"]), strict=True))

    assert answered["growths"] == [True] * len(asked["growths"])
    for first, second in asked["growths"]:
        path = tree.consistency(first, second, subtree)
        assert tree.is_consistent(first, second, theirs[first], theirs[second], path)
