"""What a record commits to: everything in it, of which one part can be erased and the rest stays provable.

    seal       = SHA-256(salt, erasable)
    commitment = SHA-256(head, SHA-256(description of the model), seal, lasting)

The commitments, in the order of their positions, are the entries of the Merkle tree. An erasure replaces the
salt by the seal and the erasable part by zeros: the commitment can still be computed, the values cannot.
"""

import hashlib
import struct
import time
from datetime import UTC, datetime
from enum import IntEnum
from typing import NamedTuple

from journal import ids
from journal.models import Model

SALT_BYTES = HASH_BYTES = 32
FORM = 1  # to be increased when any part of a commitment changes its meaning
NO_LABEL = 255
NO_SUBJECT = bytes(ids.LENGTH)

# form, kind, label, writer, sequence, time, id, subject
_HEAD = struct.Struct(">BBBIQq16s16s")


class Kind(IntEnum):
    RECEIPT = 1
    SERVED = 2
    REVIEW = 3
    ERASURE = 4
    HOLD = 5
    RELEASE = 6
    CHECKPOINT = 7
    START = 8
    END = 9
    ANSWERED = 10
    SCORED = 11
    UNANSWERED = 12


ERASED_WITH_THE_DECISION = (Kind.RECEIPT, Kind.REVIEW)


class Entry(NamedTuple):
    """A receipt or an event in bytes, before a writer has given it a place.

    `time`: microseconds since 1970, UTC. `label`: the number of the prediction among the model's labels.
    `subject`: the decision or the call that an event is about, or the call that a receipt belongs to.
    """

    kind: Kind
    id: bytes
    time: int
    lasting: bytes
    erasable: bytes = b""
    model: Model | None = None
    label: int | None = None
    subject: bytes | None = None


def head(
    kind: int,
    label: int | None,
    writer: int,
    sequence: int,
    moment: int,
    own_id: bytes,
    subject: bytes | None,
) -> bytes:
    """The part of a record that has one form for all kinds.

    Two records with one head are the same: an id of another length would be cut or filled up without a word.
    Raises struct.error or ValueError for what does not fit.
    """
    if len(own_id) != ids.LENGTH or (subject is not None and len(subject) != ids.LENGTH):
        raise ValueError("an id is of another length")
    if label == NO_LABEL or subject == NO_SUBJECT:
        raise ValueError("what stands for nothing is written as something")
    shown = NO_LABEL if label is None else label
    return _HEAD.pack(FORM, kind, shown, writer, sequence, moment, own_id, subject or NO_SUBJECT)


def seal(salted_part: bytes) -> bytes:
    return hashlib.sha256(salted_part).digest()


def erased(salted_part: bytes) -> bytes:
    """What stays of the salted part: its seal, then zeros, in the same length."""
    return seal(salted_part) + bytes(len(salted_part) - SALT_BYTES)


def commitment(record_head: bytes, model_digest: bytes, record_seal: bytes, lasting: bytes) -> bytes:
    """Raises ValueError for a part of another length than its own: two records could have one commitment."""
    if (len(record_head), len(model_digest), len(record_seal)) != (_HEAD.size, HASH_BYTES, HASH_BYTES):
        raise ValueError("a part of a commitment is of another length")
    return hashlib.sha256(record_head + model_digest + record_seal + lasting).digest()


def now() -> int:
    return time.time_ns() // 1_000


def moment(text: str) -> int:
    """Microseconds since 1970, of a time in ISO 8601, which is UTC if it names no zone. Raises ValueError."""
    found = datetime.fromisoformat(text)
    return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1e6)
