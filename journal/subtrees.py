"""The tree's subtrees out of the database: stored ones as they are, those between them from what is below."""

import functools

import sqlalchemy as sa

from journal import schema, tree
from journal.errors import UNFIT, Damaged
from journal.tree import LEVELS_APART, Subtree


def of(connection: sa.Connection) -> Subtree:
    """Reads at most 256 hashes for a subtree, whatever its size. It raises Damaged."""

    @functools.lru_cache(maxsize=256)
    def subtree(level: int, number: int) -> bytes:
        stored = level - level % LEVELS_APART
        below = level - stored
        try:
            roots = _roots(connection, stored, number << below, 1 << below)
            while len(roots) > 1:
                roots = [tree.node(left, right) for left, right in zip(roots[::2], roots[1::2], strict=True)]
            return roots[0]
        except (IndexError, TypeError, ValueError):  # some are missing, or are no hashes
            raise Damaged(UNFIT) from None

    return subtree


def _roots(connection: sa.Connection, level: int, first: int, count: int) -> list[bytes]:
    if level == 0:
        leaves = _between(schema.record.c.commitment, schema.record.c.position, first, count)
        return [tree.leaf(entry) for entry in connection.execute(leaves).scalars()]
    stored = schema.subtree.c
    query = _between(stored.root, stored.number, first, count).where(stored.level == level)
    return list(connection.execute(query).scalars())


def _between(
    wanted: sa.ColumnElement[bytes], place: sa.ColumnElement[int], first: int, count: int
) -> sa.Select[bytes]:
    return sa.select(wanted).where(place >= first, place < first + count).order_by(place)
