"""Unpickles without executing: every name in a pickle becomes an inert stand-in.

A pickle is a program. No name in it reaches a real object here: a stand-in only records how it was used, so
that what a real object would hold can be read from it.
"""

import io
import pickle
import struct
from typing import Any, ClassVar, NoReturn, TypeGuard


class Refused(Exception):
    """A pickle that is not the documented one. None stands for the documented sentence about the keys."""

    def __init__(self, detail: str | None) -> None:
        super().__init__(detail)
        self.detail = detail


class StandIn:
    """Takes the place of anything that a pickle names. It keeps what it is given and does nothing."""

    name: ClassVar[tuple[str, str]]
    args: tuple[Any, ...]
    state: Any = None

    def __new__(cls, *args: Any, **kwargs: Any) -> "StandIn":
        self = super().__new__(cls)
        self.args = args
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Accept what __new__ has kept."""

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Ignore an item: only defaultdict and OrderedDict are filled this way, and neither is read."""


class InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> type[StandIn]:
        return type("StandIn", (StandIn,), {"name": (module, name)})

    def persistent_load(self, _: Any, /) -> NoReturn:
        raise Refused("le fichier Pickle renvoie à des objets extérieurs")


def unpickled(content: bytes) -> object:
    """What one whole pickle holds, with stand-ins in it. Raises Refused."""
    stream = io.BytesIO(content)
    found: object = InertUnpickler(stream).load()
    if stream.read(1):
        raise Refused("des octets suivent la fin du fichier Pickle")
    return found


def stands_for(value: object, module: str, name: str) -> TypeGuard[StandIn]:
    """Whether the value is a stand-in for an object of this class."""
    return isinstance(value, StandIn) and value.name == (module, name)


def state(value: object) -> dict[Any, Any]:
    """The attributes that a stand-in was given; empty for anything else."""
    found = getattr(value, "state", None)
    return found if type(found) is dict else {}


def double(value: object, key: str) -> float | None:
    """A Python number, or a NumPy scalar, which a pickle holds as (dtype, bytes). Raises Refused."""
    if value is None:
        return None
    if isinstance(value, StandIn) and value.name[1] == "scalar" and len(value.args) == 2:
        return _numpy_double(*value.args, key)
    if type(value) in (int, float):
        return float(value)  # type: ignore[arg-type]
    raise Refused(f"'{key}' n’est pas un nombre")


def _numpy_double(dtype: object, content: object, key: str) -> float:
    kind = _dtype_name(dtype)
    order = dtype.state[1] if kind in ("f8", "f4") else None  # type: ignore[attr-defined]
    content = _plain_bytes(content)
    if order not in ("<", ">") or type(content) is not bytes:
        raise Refused(f"'{key}' n’est pas un nombre")
    return float(struct.unpack(order + {"f8": "d", "f4": "f"}[str(kind)], content)[0])


def whole(number: object) -> int:
    """A Python integer, or a NumPy one, which a pickle holds as (dtype, bytes). Raises Refused."""
    if type(number) is int:
        return number
    if isinstance(number, StandIn) and number.name[1] == "scalar" and len(number.args) == 2:
        dtype, content = number.args
        kind = _dtype_name(dtype)
        content = _plain_bytes(content)
        if kind in ("i4", "i8", "u4", "u8") and type(content) is bytes and len(content) == int(kind[1]):
            order: Any = "big" if dtype.state[1] == ">" else "little"
            return int.from_bytes(content, order, signed=kind[0] == "i")
    raise Refused("'best_iteration' n’est pas un nombre entier")


def _dtype_name(dtype: object) -> Any:
    return dtype.args[0] if stands_for(dtype, "numpy", "dtype") and dtype.args else None


def _plain_bytes(content: object) -> object:
    """The bytes themselves: protocol 2 writes them as a call of _codecs.encode."""
    is_spelt = isinstance(content, StandIn) and content.name == ("_codecs", "encode")
    return content.args[0].encode("latin-1") if is_spelt else content  # type: ignore[attr-defined]
