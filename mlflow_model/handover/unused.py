"""Says what of the documented dictionary is not used, and finds what may have prepared the data."""

import re
from collections.abc import Container, Iterator, Mapping
from typing import Any

from mlflow_model.handover import arrays, inert
from mlflow_model.handover.inert import Name, Object
from mlflow_model.handover.refusals import NotUsable, shown

USED = frozenset({"model", "features", "optimal_threshold", "margin"})

_RANDOM = "numpy.random."  # generators and what they are made of
# Names that are no functions: pandas's own values, and types of numbers.
_NOT_CALLED = re.compile(
    r"pandas\.(?:\S*\.)?(?:NA|NaT)|numpy\.(?:float|int|uint|bool)[0-9_]*|builtins\.(?:float|int|bool|str)"
    r"|builtins\.(?:Ellipsis|NotImplemented)"
)
# Objects of these hold data and compute nothing. Whatever else a dictionary holds may be a step of the model.
_OF_DATA = frozenset(
    {
        "pandas",
        "pyarrow",
        "datetime",
        "zoneinfo",
        "pytz",
        "dateutil",
        "decimal",
        "fractions",
        "uuid",
        "pathlib",
    }
)
_DATA = frozenset(
    {
        *(Name("builtins", name) for name in ("set", "frozenset", "bytearray", "complex", "range", "slice")),
        *(
            Name("builtins", name)
            for name in ("dict", "list", "tuple", "object", "int", "float", "str", "bool")
        ),
        *(Name("collections", name) for name in ("OrderedDict", "defaultdict", "deque", "Counter")),
        *(Name(module, "Bunch") for module in ("sklearn.utils", "sklearn.utils._bunch")),
        *(Name("numpy", name) for name in ("ndarray", "dtype")),
        *(Name(f"{core}.multiarray", "_reconstruct") for core in ("numpy.core", "numpy._core")),
        *(Name(f"{core}.multiarray", "scalar") for core in ("numpy.core", "numpy._core")),
        *(Name(f"{core}.numeric", "_frombuffer") for core in ("numpy.core", "numpy._core")),
        *(Name(module, "_mareconstruct") for module in ("numpy.ma.core", "numpy.ma")),
        Name("numpy.ma.core", "MaskedArray"),
        Name("numpy.ma.core", "MaskedConstant"),
        Name("_codecs", "encode"),
        Name("types", "SimpleNamespace"),
    }
)


def keys(document: Mapping[Any, Any]) -> list[str]:
    """The keys whose values are not used. Raises NotUsable if one may hold a step beside the model."""
    for key, value in document.items():
        _check_key(key)
        if key != "model":
            check(f"'{_shown_key(key)}'", value)
    return [_shown_key(key) for key in document if key not in USED]


def _check_key(key: Any) -> None:
    for one in working(key):
        raise _refusal(f"une clé du dictionnaire {'est' if one is key else 'contient'}", one)


def _shown_key(key: Any) -> str:
    found = arrays.plain(key)
    return called(found) if isinstance(found, Name | Object) else shown(found)


def check(where: str, value: Any) -> None:
    """Raises NotUsable if the value holds more than data."""
    for one in working(value):
        raise _refusal(f"{where} contient", one)


def _refusal(where: str, one: Name | Object) -> NotUsable:
    return NotUsable(
        f"{where} {called(one)}, qui peut préparer les données avant le modèle, "
        "et que le service n’appellerait pas ; "
        "entraînez le modèle sur les colonnes préparées, et donnez-le sans cet objet"
    )


def working(value: Any, known: Container[Any] = ()) -> Iterator[Name | Object]:
    """The functions, classes and objects in a value that are more than data.

    `known`: classes whose objects are taken for data too.
    """
    waiting, seen = [value], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        is_called = isinstance(one, Name) and not _NOT_CALLED.fullmatch(f"{one.module}.{one.name}")
        if is_called or (isinstance(one, Object) and not _is_data(one, known)):
            yield one
        elif isinstance(one, Object):
            waiting += _held_by(one)
        elif isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            waiting += one


def _held_by(one: Object) -> Iterator[Any]:
    """What data holds. A class that tells how the data is made is none of it."""
    is_plain = isinstance(one.maker, Name) and one.maker.module in ("builtins", "collections")
    for held in one.args:
        is_its_kind = isinstance(held, Name) and (not is_plain or held in _DATA)
        if not is_its_kind:
            yield held
    yield one.state
    yield one.items


def _is_data(one: Object, known: Container[Any]) -> bool:
    name = inert.name_of(one)
    if name is None:
        return False
    if one.maker in known:
        return True
    if one.maker == Name("builtins", "getattr"):  # a method, which is not called
        return False
    return name in _DATA or name.module.partition(".")[0] in _OF_DATA or name.module.startswith(_RANDOM)


def called(one: Name | Object) -> str:
    name = inert.name_of(one)
    return "un objet" if name is None else f"« {shown(f'{name.module}.{name.name}')} »"
