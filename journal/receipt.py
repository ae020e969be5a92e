"""The receipt of one decision in bytes: about 200 for 17 features, every value as it was."""

import functools
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from journal import ids
from journal.models import Model
from journal.record import Entry, Kind, now

LONGEST_TEXT = 255  # bytes of a door, a name or a reference


class CannotKeep(ValueError):
    """A receipt that the journal has no form for: the caller's mistake, and not the client's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """`inputs`: in the order of the model's features, NaN where the client's value was null.

    `outputs`: the decision's columns, the label first. `caller`: the name of the token that asked. `call_id`:
    shared by the receipts of one batch.
    """

    model: Model
    inputs: Sequence[float]
    outputs: Sequence[str | float]
    door: str
    request_id: str
    caller: str = ""
    client_reference: str = ""
    call_id: bytes = b""
    id: bytes = field(default_factory=ids.new)
    time: int = field(default_factory=now)

    def entry(self) -> Entry:
        """Raises CannotKeep."""
        form = Form(self.model, self.door)
        beside = self.caller, self.client_reference, self.call_id
        return form.entry(self.inputs, self.outputs, self.request_id, *beside)._replace(
            id=self.id, time=self.time
        )


class Form:
    """Makes receipts of one model's decisions at one door without a detour: thousands a second."""

    def __init__(self, model: Model, door: str) -> None:
        self.model, self._door = model, _text(door)
        self._asked = _doubles(len(model.features)).pack
        self._answered = _doubles(len(model.columns) - 1).pack
        self._numbers = {label: model.labels.index(label) for label in model.labels}

    def entry(
        self,
        inputs: Sequence[float],
        outputs: Sequence[str | float],
        request_id: str,
        caller: str = "",
        client_reference: str = "",
        call_id: bytes = b"",
    ) -> Entry:
        """The meanings are those of `Receipt`. Raises CannotKeep."""
        label, *numbers = outputs
        try:
            answered, asked = self._answered(*numbers), self._asked(*inputs)
            number = self._numbers[str(label)]
        except (struct.error, KeyError, TypeError) as error:
            raise CannotKeep("the inputs or outputs are not those of the model") from error
        lasting = answered + self._door + _text(caller)
        erasable = asked + _text(request_id) + _text(client_reference)
        return Entry(Kind.RECEIPT, ids.new(), now(), lasting, erasable, self.model, number, call_id or None)


@dataclass(frozen=True, slots=True)
class Lasting:
    """What an erasure leaves of a receipt."""

    outputs: tuple[str | float, ...]
    door: str
    caller: str
    call_id: bytes


@dataclass(frozen=True, slots=True)
class Erasable:
    """What an erasure takes. A caller's request id may name the client, as a reference does."""

    inputs: tuple[float, ...]
    request_id: str
    client_reference: str


def lasting(model: Model, label: int, content: bytes, call_id: bytes) -> Lasting:
    """`call_id`: empty without one, and where the content holds it: that of receipts before form 0003."""
    form = _doubles(len(model.columns) - 1)
    door, rest = _first_text(content[form.size :])
    caller, former = _first_text(rest)
    return Lasting((model.labels[label], *form.unpack_from(content)), door, caller, call_id or former)


def erasable(model: Model, content: bytes) -> Erasable:
    """`content`: without the salt."""
    form = _doubles(len(model.features))
    request_id, rest = _first_text(content[form.size :])
    return Erasable(form.unpack_from(content), request_id, _first_text(rest)[0])


def ends_with_reference(content: bytes, reference: str) -> bool:
    """Whether the erasable part is that of a receipt with this reference; true of few others by chance."""
    return content.endswith(_text(reference))


@functools.cache
def _doubles(count: int) -> struct.Struct:
    return struct.Struct(f">{count}d")


def _text(value: str) -> bytes:
    encoded = value.encode()
    if len(encoded) > LONGEST_TEXT:
        raise CannotKeep(f"a text has more than {LONGEST_TEXT} bytes")
    return bytes((len(encoded),)) + encoded


def _first_text(content: bytes) -> tuple[str, bytes]:
    end = 1 + content[0]
    return content[1:end].decode(), content[end:]
