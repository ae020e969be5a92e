"""What those who decide and the writer say to each other: groups of records, and what became of them.

A group is written whole or not at all. Its message names each model by a number of the connection's, and
describes it when it is named first. The answer to a group is its number, and whether it is on the disk. Under
the number `STATE` the writer says at once, and whenever it changes, whether the journal can be written.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from journal import models
from journal.models import Model
from journal.record import NO_LABEL, NO_SUBJECT, Entry, Kind

MOST_BYTES = 16 * 1024**2  # of a group, which has some hundred receipts
NO_MODEL = 0xFFFF

STATE = 0  # the number of no group: by it the writer says whether the journal can be written

_SIZE = struct.Struct(">I")
_GROUP = struct.Struct(">QHI")  # its number, the models it describes, its records
_RECORD = struct.Struct(">BBHq16s16sII")  # kind, label, model, time, id, subject, bytes of the two parts
_ANSWER = struct.Struct(">Q?")
_KINDS = {int(kind): kind for kind in Kind}


class Garbled(ValueError):
    """The bytes are no group."""


class Group(NamedTuple):
    number: int
    entries: list[Entry]


class Outgoing:
    """Writes the groups of one connection."""

    def __init__(self) -> None:
        self._models: dict[Model, int] = {}
        self._last: tuple[Model | None, int] = None, NO_MODEL

    def message(self, number: int, entries: Sequence[Entry]) -> bytes:
        """`number`: from 1."""
        described, records = [], []
        for kind, own_id, time, lasting, erasable, model, label, subject in entries:
            if model is not self._last[0]:  # to look it up by its content takes longer than all the rest
                described += self._named(model)
            shown, about = NO_LABEL if label is None else label, subject or NO_SUBJECT
            sizes = len(lasting), len(erasable)
            records += [
                _RECORD.pack(kind, shown, self._last[1], time, own_id, about, *sizes),
                lasting,
                erasable,
            ]
        body = b"".join([_GROUP.pack(number, len(described) // 2, len(entries)), *described, *records])
        return _SIZE.pack(len(body)) + body

    def _named(self, model: Model | None) -> list[bytes]:
        """Have the next records name this model. Return its description if it is the first time."""
        known = NO_MODEL if model is None else self._models.get(model)
        self._last = model, len(self._models) if known is None else known
        if model is None or known is not None:
            return []
        self._models[model] = len(self._models)
        return [_SIZE.pack(len(model.description)), model.description]


class Incoming:
    """Reads the groups of one connection, from pieces of any size."""

    def __init__(self) -> None:
        self._models: list[Model] = []
        self._unread = bytearray()

    def feed(self, piece: bytes) -> Iterator[Group]:
        """Raises Garbled."""
        self._unread += piece
        while len(self._unread) >= _SIZE.size:
            (size,) = _SIZE.unpack_from(self._unread)
            if size > MOST_BYTES:
                raise Garbled
            end = _SIZE.size + size
            if len(self._unread) < end:
                return
            body = bytes(self._unread[_SIZE.size : end])
            del self._unread[:end]
            try:
                yield self._group(body)
            except (struct.error, IndexError, KeyError, TypeError, ValueError) as error:
                raise Garbled from error

    def _group(self, body: bytes) -> Group:
        number, described, count = _GROUP.unpack_from(body)
        at = _GROUP.size
        for _ in range(described):
            (size,) = _SIZE.unpack_from(body, at)
            at += _SIZE.size
            self._models.append(models.read(body[at : at + size]))
            at += size
        entries = []
        for _ in range(count):
            kind, label, model, moment, own_id, subject, lasting, erasable = _RECORD.unpack_from(body, at)
            at += _RECORD.size
            middle, end = at + lasting, at + lasting + erasable
            entries.append(
                Entry(
                    _KINDS[kind],
                    own_id,
                    moment,
                    body[at:middle],
                    body[middle:end],
                    None if model == NO_MODEL else self._models[model],
                    None if label == NO_LABEL else label,
                    None if subject == NO_SUBJECT else subject,
                )
            )
            at = end
        if at != len(body):
            raise Garbled
        return Group(number, entries)


def answer(number: int, *, is_written: bool) -> bytes:
    return _ANSWER.pack(number, is_written)


def answers(piece: bytes) -> tuple[list[tuple[int, bool]], bytes]:
    """The answers in these bytes, and the bytes of one that has not come whole."""
    whole = len(piece) // _ANSWER.size * _ANSWER.size
    found = [(number, is_written) for number, is_written in _ANSWER.iter_unpack(piece[:whole])]
    return found, piece[whole:]
