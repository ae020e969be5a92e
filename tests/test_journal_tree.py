"""The journal's Merkle tree, against published vectors and against the RFC's own definition."""

import hashlib
import random

import pytest

from journal import tree

# Of google/certificate-transparency, cpp/merkletree/merkle_tree_test.cc.
_HEX = ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
ENTRIES = [bytes.fromhex(one) for one in _HEX]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
PATHS = [
    (0, 1, []),
    (
        0,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        1,
        5,
        [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]
GROWTHS = [
    (1, 1, []),
    (
        1,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]
MANY = [str(number).encode() for number in range(130)]


def defined_root(entries: list[bytes]) -> bytes:
    """RFC 9162, 2.1.1, word for word."""
    if not entries:
        return hashlib.sha256().digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    k = 1
    while k * 2 < len(entries):
        k *= 2
    return hashlib.sha256(b"\x01" + defined_root(entries[:k]) + defined_root(entries[k:])).digest()


def subtree_of(entries: list[bytes]) -> tree.Subtree:
    return lambda level, number: defined_root(entries[number << level : number + 1 << level])


def unhex(path: list[str]) -> list[bytes]:
    return [bytes.fromhex(one) for one in path]


@pytest.mark.parametrize("size", range(9))
def test_the_roots_are_the_published_ones(size: int) -> None:
    frontier = tree.Frontier()
    frontier.extend(ENTRIES[:size])

    assert frontier.root().hex() == tree.root(size, subtree_of(ENTRIES)).hex() == ROOTS[size]


@pytest.mark.parametrize(("index", "size", "path"), PATHS)
def test_the_inclusion_proofs_are_the_published_ones(index: int, size: int, path: list[str]) -> None:
    root = bytes.fromhex(ROOTS[size])

    assert tree.inclusion(index, size, subtree_of(ENTRIES)) == unhex(path)
    assert tree.is_included(ENTRIES[index], index, size, unhex(path), root)


@pytest.mark.parametrize(("first", "second", "path"), GROWTHS)
def test_the_consistency_proofs_are_the_published_ones(first: int, second: int, path: list[str]) -> None:
    roots = bytes.fromhex(ROOTS[first]), bytes.fromhex(ROOTS[second])

    assert tree.consistency(first, second, subtree_of(ENTRIES)) == unhex(path)
    assert tree.is_consistent(first, second, *roots, unhex(path))


def test_a_tree_of_any_size_has_the_root_that_the_rfc_defines() -> None:
    frontier, grown = tree.Frontier(), [tree.EMPTY]
    for entry in MANY:
        frontier.extend([entry])
        grown.append(frontier.root())

    assert grown == [defined_root(MANY[:size]) for size in range(len(MANY) + 1)]


def test_each_entry_of_each_tree_is_proved_and_no_other_entry_or_place() -> None:
    subtree = subtree_of(MANY)
    for size in range(1, 66):
        root = defined_root(MANY[:size])
        for index in range(size):
            path = tree.inclusion(index, size, subtree)
            assert tree.is_included(MANY[index], index, size, path, root)
            assert not tree.is_included(b"another", index, size, path, root)
            assert not tree.is_included(MANY[index], index + 1, size, path, root)
            assert not tree.is_included(MANY[index], index, size, [*path, bytes(32)], root)
            assert not any(
                tree.is_included(MANY[index], index, size, path[:cut], root) for cut in range(len(path))
            )


def test_each_growth_is_proved_and_no_other_beginning_or_end() -> None:
    subtree, roots = subtree_of(MANY), [defined_root(MANY[:size]) for size in range(67)]
    for second in range(1, 66):
        for first in range(1, second + 1):
            path = tree.consistency(first, second, subtree)
            assert tree.is_consistent(first, second, roots[first], roots[second], path)
            assert not tree.is_consistent(first, second, roots[first - 1], roots[second], path)
            assert not tree.is_consistent(first, second, roots[first], roots[second + 1], path)
            assert not tree.is_consistent(first, second, roots[first], roots[second], [*path, bytes(32)])
            assert not (path and tree.is_consistent(first, second, roots[first], roots[second], path[1:]))


def test_a_proof_of_one_size_is_none_of_a_larger_size() -> None:
    subtree, roots = subtree_of(MANY), [defined_root(MANY[:size]) for size in range(9)]

    assert not tree.is_included(MANY[0], 0, 8, tree.inclusion(0, 4, subtree), roots[4])
    assert not tree.is_consistent(2, 8, roots[2], roots[4], tree.consistency(2, 4, subtree))


def test_every_tree_grew_from_the_empty_one_and_from_nothing_longer() -> None:
    assert tree.is_consistent(0, 5, tree.EMPTY, defined_root(MANY[:5]), [])
    assert not tree.is_consistent(0, 5, bytes(32), defined_root(MANY[:5]), [])
    assert not tree.is_consistent(6, 5, defined_root(MANY[:6]), defined_root(MANY[:5]), [])


def test_a_tree_goes_on_from_its_frontier_as_if_it_had_never_stopped() -> None:
    chance = random.Random(7)  # noqa: S311 - the same leaves at every run
    whole, resumed = tree.Frontier(), tree.Frontier()
    for _ in range(50):
        entries = [chance.randbytes(32) for _ in range(chance.randrange(40))]
        resumed = tree.Frontier(resumed.size, resumed.roots)
        assert whole.extend(entries) == resumed.extend(entries)

    assert (whole.size, whole.root()) == (resumed.size, resumed.root())


def test_a_frontier_that_is_none_of_its_size_is_refused() -> None:
    with pytest.raises(ValueError, match="not those of a tree of size 3"):
        tree.Frontier(3, [bytes(32)])


def test_the_stored_subtrees_are_those_of_256_and_65536_entries() -> None:
    entries = [number.to_bytes(4) for number in range(70_000)]

    stored = tree.Frontier().extend(entries)

    assert [one for one in stored if one[0] > 8] == [(16, 0, defined_root(entries[:65_536]))]
    assert [number for level, number, _ in stored if level == 8] == list(range(70_000 // 256))
    assert (8, 3, defined_root(entries[768:1024])) in stored
