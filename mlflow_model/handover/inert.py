"""Reads a pickle without executing it: every name in it stays a name.

A pickle is a program for a small stack machine. This machine runs it, too, but it has nothing to call: a name
becomes a Name, and what a call of it would make becomes an Object that keeps what the call was given. What a
real object would hold is then read from these. The instructions are decoded by the standard library's
pickletools. https://docs.python.org/3/library/pickletools.html
"""

import io
import pickletools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NoReturn


class BadPickle(ValueError):
    """The bytes are no whole pickle."""


class Foreign(ValueError):
    """The pickle refers to objects that are not in it."""


class Unsupported(ValueError):
    """The pickle may be sound, and is not read. The message says why, in French."""


@dataclass(frozen=True)
class Name:
    """A class or a function that a pickle names."""

    module: str
    name: str


@dataclass(eq=False)
class Object:
    """What calling `maker` would make. `items` holds what was appended to it or added, or set as pairs."""

    maker: Any
    args: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)


# Takes an object whose state has just been set, and the stream, where more of it may follow; returns what
# takes its place.
Complete = Callable[[Object, BinaryIO], Any]


def unpickled(stream: BinaryIO, complete: Complete | None = None) -> Any:
    """What the pickle at the stream's position holds, with Names and Objects in it. The stream is left
    behind it. Raises BadPickle, Foreign.
    """
    machine = _Machine()
    try:
        for code, argument, _ in pickletools.genops(stream):
            _STEPS[code.name](machine, argument)
            if code.name == "BUILD" and complete is not None:
                machine.push(complete(machine.pop(), stream))
        return machine.pop()
    except (BadPickle, Foreign, Unsupported):
        raise
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, RecursionError) as error:
        raise BadPickle from error


def whole(content: bytes, complete: Complete | None = None) -> Any:
    """What these bytes hold if they are one pickle.

    Raises BadPickle, Foreign; Unsupported if more than white space or zeros follow.
    """
    stream = io.BytesIO(content)
    found = unpickled(stream, complete)
    if stream.read().strip(b"\0 \t\r\n"):
        raise Unsupported("plusieurs objets se suivent dans le fichier ; écrivez-les en un seul dictionnaire")
    return found


def name_of(value: Any) -> Name | None:
    """The class that an Object is of, or the function that made it; the Name itself for a Name."""
    while isinstance(value, Object):
        is_method = value.maker == Name("builtins", "getattr") and value.args  # as protocols before 4 name it
        value = value.args[0] if is_method else value.maker
    return value if isinstance(value, Name) else None


def is_of(value: Any, *names: Name) -> bool:
    """Whether the value is an Object of one of these classes, or made by one of these functions."""
    return isinstance(value, Object) and value.maker in names


def state(value: Any) -> dict[Any, Any]:
    """The attributes that an Object was given; empty for anything else."""
    found = getattr(value, "state", None)
    if type(found) is tuple and len(found) == 2 and type(found[1]) is dict:  # (attributes, slots)
        found = {**(found[0] or {}), **found[1]}
    return found if type(found) is dict else {}


def pairs(value: Any) -> dict[Any, Any]:
    """What a dictionary holds, or an Object that pairs were set in; empty for anything else."""
    if isinstance(value, Object):
        return dict(pair for pair in value.items if type(pair) is tuple and len(pair) == 2)
    return value if type(value) is dict else {}


class _Machine:
    """The stack of one pickle, with the places of its marks, and the memo."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    @property
    def top(self) -> Any:
        return self._stack[-1]

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def pop(self) -> Any:
        return self._stack.pop()

    def pop_some(self, count: int) -> list[Any]:
        """The last `count` values, in the order in which they came. Raises BadPickle if there are fewer."""
        if len(self._stack) < count:
            raise BadPickle
        start = len(self._stack) - count
        found = self._stack[start:]
        del self._stack[start:]
        return found

    def mark(self) -> None:
        self._marks.append(len(self._stack))

    def pop_to_mark(self) -> list[Any]:
        """What came since the last mark, which goes too. IndexError if there is no mark."""
        return self.pop_some(len(self._stack) - self._marks.pop())

    def drop(self) -> None:
        """Remove the last value, or the last mark if nothing came since."""
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._stack.pop()

    def remember(self, place: int | None) -> None:
        """Keep the last value under a number, or under the next one."""
        self._memo[len(self._memo) if place is None else place] = self.top

    def recall(self, place: int) -> None:
        self.push(self._memo[place])


def _append(machine: _Machine, values: Iterable[Any]) -> None:
    held = machine.top
    if isinstance(held, Object):
        held.items.extend(values)
    elif type(held) is list:
        held.extend(values)
    elif type(held) is set:
        held.update(values)
    else:
        raise BadPickle


def _set(machine: _Machine, flat: Sequence[Any]) -> None:
    held = machine.top
    if isinstance(held, Object):
        held.items.extend(_pairs(flat))
    elif type(held) is dict:
        held.update(_pairs(flat))
    else:
        raise BadPickle


def _pairs(flat: Sequence[Any]) -> list[tuple[Any, Any]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


def _name(module: Any, name: Any) -> Name:
    if type(module) is not str or type(name) is not str:
        raise BadPickle
    return Name(_MODULES_OF_PYTHON_2.get(module, module), name)


def _name_in(argument: str) -> Name:
    """The name in an instruction that holds both words."""
    return _name(*argument.split(" ", 1))


def _made(maker: Any, args: Iterable[Any]) -> Object:
    """What a call would make. Python's own ways of making an object give one of its class."""
    given = tuple(args)
    if isinstance(maker, Name) and maker in _WAYS_OF_MAKING:
        maker, *rest = given
        given = tuple(rest)
    return Object(maker, given)


def _reduce(machine: _Machine, _: Any) -> None:
    maker, args = machine.pop_some(2)
    machine.push(_made(maker, args))


def _new_with_keywords(machine: _Machine, _: Any) -> None:
    maker, args, keywords = machine.pop_some(3)
    machine.push(_made(maker, (*args, *dict(keywords).values())))


def _object(machine: _Machine, _: Any) -> None:
    maker, *args = machine.pop_to_mark()
    machine.push(_made(maker, args))


def _build(machine: _Machine, _: Any) -> None:
    given = machine.pop()
    if not isinstance(machine.top, Object):
        raise BadPickle
    machine.top.state = given


def _refer_outside(_: _Machine, __: Any) -> NoReturn:
    raise Foreign


def _check_protocol(_: _Machine, number: int) -> None:
    if number > _HIGHEST_PROTOCOL:
        raise BadPickle


def _nothing(_: _Machine, __: Any) -> None:
    """Do nothing: the instruction is about the stream alone."""


_HIGHEST_PROTOCOL = 5
_MODULES_OF_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # also protocols 0 to 2 write these
_WAYS_OF_MAKING = frozenset(
    Name("copyreg", name) for name in ("_reconstructor", "__newobj__", "__newobj_ex__")
)
_CONSTANTS = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE"),
    *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)
# What each instruction does, with its argument. READONLY_BUFFER follows NEXT_BUFFER, which is refused.
_STEPS: dict[str, Callable[[_Machine, Any], Any]] = {
    **dict.fromkeys(("FRAME", "STOP"), _nothing),
    "PROTO": _check_protocol,
    **dict.fromkeys(_CONSTANTS, _Machine.push),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.remember),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.recall),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _reduce),
    **dict.fromkeys(("PERSID", "BINPERSID", "NEXT_BUFFER", "EXT1", "EXT2", "EXT4"), _refer_outside),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), lambda machine, _: _append(machine, machine.pop_to_mark())),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "MARK": lambda machine, _: machine.mark(),
    "POP": lambda machine, _: machine.drop(),
    "POP_MARK": lambda machine, _: machine.pop_to_mark(),
    "DUP": lambda machine, _: machine.push(machine.top),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_SET": lambda machine, _: machine.push(set()),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.pop_some(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.pop_some(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.pop_some(3))),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_to_mark())),
    "LIST": lambda machine, _: machine.push(machine.pop_to_mark()),
    "DICT": lambda machine, _: machine.push(dict(_pairs(machine.pop_to_mark()))),
    "FROZENSET": lambda machine, _: machine.push(frozenset(machine.pop_to_mark())),
    "APPEND": lambda machine, _: _append(machine, machine.pop_some(1)),
    "SETITEM": lambda machine, _: _set(machine, machine.pop_some(2)),
    "SETITEMS": lambda machine, _: _set(machine, machine.pop_to_mark()),
    "GLOBAL": lambda machine, argument: machine.push(_name_in(argument)),
    "STACK_GLOBAL": lambda machine, _: machine.push(_name(*machine.pop_some(2))),
    "INST": lambda machine, argument: machine.push(_made(_name_in(argument), machine.pop_to_mark())),
    "OBJ": _object,
    "NEWOBJ_EX": _new_with_keywords,
    "BUILD": _build,
}
