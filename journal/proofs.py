"""Writes what a stranger can check without our code (`journal/check_proof.py`): that a receipt is in the tree
of a checkpoint, or that the tree of a later checkpoint only grew.
"""

import base64
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from journal import checkpoints, events, reading, schema, subtrees, tree
from journal.checkpoints import Checkpoint
from journal.errors import Refused
from journal.reading import Record
from journal.record import Kind

INCLUSION, GROWTH = "scoring-client inclusion 1", "scoring-client growth 1"

_NONE_YET = "no checkpoint holds this record yet: python -m journal checkpoint makes one"


def of_inclusion(connection: sa.Connection, own_id: bytes, given: Checkpoint | None = None) -> dict[str, Any]:
    """The record, and its path to the root of a checkpoint, by default the newest. Raises Refused."""
    found = reading.find(connection, own_id)
    if found is None:
        raise Refused("no record of the journal has this id")
    checkpoint = _newest(connection, found.position + 1) if given is None else given
    _require_ours(connection, checkpoint)
    if checkpoint.size <= found.position:
        raise Refused(_NONE_YET)
    path = tree.inclusion(found.position, checkpoint.size, subtrees.of(connection))
    entry = {"position": found.position, **_opened(found)}
    return {"proof": INCLUSION, **entry, "path": _written(path), "checkpoint": checkpoint.note}


def of_growth(connection: sa.Connection, since: Checkpoint) -> dict[str, Any]:
    """What shows that the newest checkpoint's tree begins with that of an earlier one. Raises Refused."""
    newest = _newest(connection, since.size)
    _require_ours(connection, since)
    path = tree.consistency(since.size, newest.size, subtrees.of(connection))
    return {"proof": GROWTH, "since": since.note, "path": _written(path), "checkpoint": newest.note}


def _opened(found: Record) -> dict[str, Any]:
    """What the commitment is computed from. Of an erased record the seal is given, which hides the rest."""
    head, lasting, seal = _written([found.head, found.lasting, found.seal])
    model = "" if found.model is None else found.model.description.decode()
    salted = None if found.is_erased else _written([found.salted])[0]
    return {"head": head, "model": model, "seal": seal, "salted": salted, "lasting": lasting}


def _newest(connection: sa.Connection, least: int) -> Checkpoint:
    """The newest checkpoint in the journal, if it is of so many records. Raises Refused."""
    made = (one.event for one in reading.of_kind(connection, Kind.CHECKPOINT))
    notes = [one.note for one in made if isinstance(one, events.Checkpoint)]
    newest = checkpoints.read(notes[-1]) if notes else None
    if newest is None or newest.size < least:
        raise Refused(_NONE_YET)
    return newest


def _require_ours(connection: sa.Connection, checkpoint: Checkpoint) -> None:
    row = connection.execute(sa.select(schema.journal)).one()
    if checkpoint.origin != row.origin:
        raise Refused(f"the checkpoint is of another journal, {checkpoint.origin}")
    if checkpoint.size > row.size:
        raise Refused("the checkpoint is of more records than are there: python -m journal verify says more")
    if tree.root(checkpoint.size, subtrees.of(connection)) != checkpoint.root:
        raise Refused("the records do not fit the checkpoint: python -m journal verify says more")


def _written(parts: Iterable[bytes]) -> list[str]:
    return [base64.b64encode(part).decode() for part in parts]
