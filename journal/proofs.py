"""Writes what a stranger can check without our code (`journal/check_proof.py`): that a receipt is in the tree
of a checkpoint, or that the tree of a later checkpoint only grew.
"""

import base64
import contextlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from journal import checkpoints, events, own_row, reading, schema, subtrees, tree
from journal.checkpoints import BadCheckpoint, Checkpoint
from journal.errors import UNFIT, Damaged, Refused
from journal.plural import counted
from journal.reading import Record
from journal.record import Kind

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

INCLUSION, GROWTH = "scoring-client inclusion 1", "scoring-client growth 1"

_NONE_YET = "no checkpoint holds this record yet: python -m journal checkpoint makes one"


def of_inclusion(
    connection: sa.Connection,
    own_id: bytes,
    given: Checkpoint | None = None,
    keys: "Sequence[Ed25519PublicKey]" = (),
) -> dict[str, Any]:
    """The record, and its path to the root of a checkpoint, by default the newest. Raises Refused.

    `keys`: of which one must have signed the checkpoint, if there are any.
    """
    found = reading.find(connection, own_id)
    if found is None:
        raise Refused("no record of the journal has this id")
    checkpoint = _newest(connection, keys) if given is None else given
    if checkpoint is None or (given is None and checkpoint.size <= found.position):
        raise Refused(_NONE_YET)
    _require_ours(connection, checkpoint)
    if checkpoint.size <= found.position:
        raise Refused(
            f"the checkpoint is older than this record: it holds the first {checkpoint.size:,}, and this is "
            f"number {found.position + 1:,}: take a newer one"
        )
    path = tree.inclusion(found.position, checkpoint.size, subtrees.of(connection))
    entry = {"position": found.position, **_opened(found)}
    return {"proof": INCLUSION, **entry, "path": _written(path), "checkpoint": checkpoint.note}


def of_growth(
    connection: sa.Connection, since: Checkpoint, keys: "Sequence[Ed25519PublicKey]" = ()
) -> dict[str, Any]:
    """What shows that the newest checkpoint's tree begins with that of an earlier one. Raises Refused."""
    _require_ours(connection, since)
    newest = _newest(connection, keys)
    if newest is None or newest.size <= since.size:
        raise Refused(
            f"the journal has no checkpoint of more than {since.size:,} records yet: "
            "python -m journal checkpoint makes one"
        )
    path = tree.consistency(since.size, newest.size, subtrees.of(connection))
    return {"proof": GROWTH, "since": since.note, "path": _written(path), "checkpoint": newest.note}


def _opened(found: Record) -> dict[str, Any]:
    """What the commitment is computed from. Of an erased record the seal is given, which hides the rest."""
    head, lasting, seal = _written([found.head, found.lasting, found.seal])
    model = "" if found.model is None else found.model.description.decode()
    salted = None if found.is_erased else _written([found.salted])[0]
    return {"head": head, "model": model, "seal": seal, "salted": salted, "lasting": lasting}


def _newest(connection: sa.Connection, keys: "Sequence[Ed25519PublicKey]") -> Checkpoint | None:
    """The newest checkpoint in the journal that can be read.

    Raises Refused, where there are keys and none has signed it.
    """
    newest = None
    for one in reading.of_kind(connection, Kind.CHECKPOINT):
        with contextlib.suppress(Damaged, BadCheckpoint):  # `verification` names it
            if isinstance(event := one.event, events.Checkpoint):
                newest = checkpoints.read(event.note)
    if newest is not None and keys and not checkpoints.is_genuine(newest, keys):
        raise Refused(
            f"the journal's newest checkpoint, of {newest.time:%Y-%m-%d %H:%M:%S}, was not signed by this key"
        )
    return newest


def _require_ours(connection: sa.Connection, checkpoint: Checkpoint) -> None:
    row = connection.execute(sa.select(schema.journal)).one()
    if own_row.fault([tuple(row)]):
        raise Damaged(UNFIT)
    if checkpoint.origin != row.origin:
        raise Refused(f"the checkpoint is of another journal, {checkpoint.origin}")
    if checkpoint.size > row.size:
        raise Refused(
            f"the checkpoint is of {counted(checkpoint.size, 'record')}, and {row.size:,} are there: "
            "python -m journal verify says more"
        )
    if tree.root(checkpoint.size, subtrees.of(connection)) != checkpoint.root:
        raise Refused("the records do not fit the checkpoint: python -m journal verify says more")


def _written(parts: Iterable[bytes]) -> list[str]:
    return [base64.b64encode(part).decode() for part in parts]
