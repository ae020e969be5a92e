"""Reads numbers, arrays and columns of names out of what an inert pickle holds of NumPy, pandas and joblib.

NumPy pickles an array as a call, whose result then gets (version, shape, dtype, is Fortran, content); since
protocol 5 also as a call with the content. joblib writes the content into the stream, behind an object that
describes it: https://github.com/joblib/joblib/blob/1.4.2/joblib/numpy_pickle.py. A pandas column of text
holds either such an array or the buffers of an Arrow array.
"""

import itertools
import math
import re
import sys
from typing import Any, BinaryIO

import numpy as np

from mlflow_model.handover import inert
from mlflow_model.handover.inert import BadPickle, Name, Object

_NDARRAY, _DTYPE = Name("numpy", "ndarray"), Name("numpy", "dtype")
_NUMPY_CORES = ("numpy.core", "numpy._core")
_RECONSTRUCT = {Name(f"{core}.multiarray", "_reconstruct") for core in _NUMPY_CORES}
_FROM_BUFFER = {Name(f"{core}.numeric", "_frombuffer") for core in _NUMPY_CORES}
_SCALAR = {Name(f"{core}.multiarray", "scalar") for core in _NUMPY_CORES}
_JOBLIB_ARRAY = Name("joblib.numpy_pickle", "NumpyArrayWrapper")
_JOBLIB_FILES = {Name("joblib.numpy_pickle_compat", name) for name in ("NDArrayWrapper", "ZNDArrayWrapper")}
_PLAIN_DTYPE = re.compile(r"([biufU])([1-9][0-9]{0,5})")
_CATEGORIES = {Name(module, "CategoricalDtype") for module in ("pandas", "pandas.core.dtypes.dtypes")}
_BYTES_OF_A_CHARACTER = 4  # in NumPy's texts
_MOST_TEXT = 2**20


def completed(built: Any, stream: BinaryIO) -> Any:
    """Read a joblib array's content, which follows in the stream. Others stay as they are.

    Raises BadPickle; inert.Foreign for joblib's old form, which keeps each array in a file of its own.
    """
    if not isinstance(built, Object):
        return built
    if built.maker in _JOBLIB_FILES:
        raise inert.Foreign
    if built.maker != _JOBLIB_ARRAY:
        return built
    described = inert.state(built)
    shape, dtype = described.get("shape"), described.get("dtype")
    if _dtype_name(dtype) == "O8":  # objects follow as a pickle of their own
        return inert.unpickled(stream, completed)
    if described.get("numpy_array_alignment_bytes") is not None:
        stream.read(stream.read(1)[0])
    size = _count(shape) * _item_bytes(dtype)
    content = stream.read(size)
    if len(content) < size:
        raise BadPickle
    is_fortran = described.get("order") == "F"
    return Object(_NDARRAY, state=(1, shape, dtype, is_fortran, content))


def number(value: Any) -> int | float | bool | None:
    """The number that a Python or NumPy number is; None for anything else."""
    if type(value) in (int, float, bool):
        return value
    if isinstance(value, Object) and value.maker in _SCALAR and len(value.args) == 2:
        found = _decoded(value.args[0], value.args[1])
        if found is not None and len(found) == 1 and type(found[0]) in (int, float, bool):
            return found[0]
    return None


def values(value: Any) -> list[Any] | None:
    """The values of a list, a tuple, or a one-dimensional array, Index or Series; None for anything else."""
    if type(value) in (list, tuple):
        return [plain(one) for one in value]
    if not isinstance(value, Object):
        return None
    found = _of_numpy(value)
    return _of_pandas(value) if found is None else found


def plain(one: Any) -> Any:
    """A NumPy number or text as Python's own; others as they are."""
    if isinstance(one, Object) and one.maker in _SCALAR and len(one.args) == 2:
        found = _decoded(one.args[0], one.args[1])
        return one if found is None or len(found) != 1 else found[0]
    return one


def _of_numpy(value: Object) -> list[Any] | None:
    if value.maker in _FROM_BUFFER and len(value.args) == 4:
        content, dtype, shape, _ = value.args
    elif value.maker in _RECONSTRUCT | {_NDARRAY} and type(value.state) is tuple and len(value.state) == 5:
        _, shape, dtype, _, content = value.state
    else:
        return None
    if not (type(shape) is tuple and len(shape) == 1):
        return None
    if _dtype_name(dtype) == "O8":
        return list(content) if type(content) is list else None
    found = _decoded(dtype, content)
    return found if found is not None and len(found) == shape[0] else None


def _of_pandas(value: Object) -> list[Any] | None:
    name = inert.name_of(value)
    package = "" if name is None else name.module.partition(".")[0]
    if name is None or package == "pyarrow":
        return _arrow_texts(value)
    if package != "pandas":
        return None
    if name.name == "_new_Index":
        held = _of_index(*value.args)
    elif name.name == "Series":
        held = _only_block(inert.state(value))
    else:
        held = _held_by_array(value)
    return values(held)


def _of_index(_: Any = None, attributes: Any = None) -> Any:
    return attributes.get("data") if type(attributes) is dict else None


def _only_block(attributes: dict[Any, Any]) -> Any:
    """The values of a Series: its block manager's state is (axes, values of the blocks, ...)."""
    manager = attributes.get("_mgr", attributes.get("_data"))
    if isinstance(manager, Object) and type(manager.state) is tuple and len(manager.state) >= 2:
        blocks = manager.state[1]
        return blocks[0] if type(blocks) is list and len(blocks) == 1 else None
    return None


def _held_by_array(array: Object) -> Any:
    """What a pandas extension array holds: attributes, or (dtype, array, attributes)."""
    attributes = inert.state(array)
    if type(array.state) is tuple and len(array.state) >= 2 and inert.is_of(array.state[0], *_CATEGORIES):
        return _of_categories(*array.state[:2])
    if type(array.state) is tuple:
        return next((one for one in array.state if inert.is_of(one, *_RECONSTRUCT, *_FROM_BUFFER)), None)
    return next((attributes[name] for name in ("_ndarray", "_pa_array", "_data") if name in attributes), None)


def _of_categories(dtype: Object, codes: Any) -> list[Any] | None:
    """The category of each place; None where it is missing."""
    categories, places = values(inert.state(dtype).get("categories")), values(codes)
    if categories is None or places is None:
        return None
    if not all(type(place) is int and -1 <= place < len(categories) for place in places):
        raise BadPickle
    return [None if place < 0 else categories[place] for place in places]


def _arrow_texts(value: Object) -> list[str] | None:
    """The texts of an Arrow array, or of a chunked array of one chunk, without missing ones."""
    if value.maker == Name("pyarrow.lib", "chunked_array") and value.args and type(value.args[0]) is list:
        chunks = value.args[0]
        return values(chunks[0]) if len(chunks) == 1 else None
    if value.maker != Name("pyarrow.lib", "_restore_array") or len(value.args) != 1:
        return None
    described = value.args[0]
    if not (type(described) is tuple and len(described) >= 5):
        raise BadPickle
    kind, length, nulls, offset, buffers, *_ = described
    width = {"string": np.int32, "large_string": np.int64}.get(kind.args[0])
    if width is None or nulls != 0 or len(buffers) != 3:
        return None
    _, ends, text = (_buffer(one) for one in buffers)
    if not 0 <= length <= _MOST_TEXT:
        return None
    if len(ends) % np.dtype(width).itemsize:
        raise BadPickle
    places = np.frombuffer(ends, width)[offset : offset + length + 1].tolist()
    if len(places) != length + 1 or places != sorted(places) or not 0 <= places[0] <= places[-1] <= len(text):
        return None
    return [text[start:end].decode() for start, end in itertools.pairwise(places)]


def _buffer(value: Any) -> bytes:
    """The bytes of `py_buffer(bytearray(content))`; none for a buffer that is absent."""
    while isinstance(value, Object) and value.args:
        inner = _plain_bytes(value)
        value = value.args[0] if inner is value else inner
    return bytes(value) if type(value) in (bytes, bytearray) else b""


def _decoded(dtype: Any, content: Any) -> list[Any] | None:
    """The numbers or texts of an array's content."""
    kind, content = _plain_dtype(dtype), _plain_bytes(content)
    if kind is None or type(content) not in (bytes, bytearray) or len(content) % kind.itemsize:
        return None
    found = np.frombuffer(bytes(content), kind)
    if kind.kind == "U" and not _are_characters(found.view(f"{kind.byteorder}u4")):
        raise BadPickle
    return list(found.tolist())


def _are_characters(codes: "np.ndarray[Any, Any]") -> bool:
    """Whether all are code points of characters: none beyond Unicode, and no half of a surrogate pair."""
    return not ((codes > sys.maxunicode) | (codes >= 0xD800) & (codes <= 0xDFFF)).any()


def _plain_dtype(dtype: Any) -> "np.dtype[Any] | None":
    """The dtype, if it is one of booleans, integers, floats or texts."""
    match = _PLAIN_DTYPE.fullmatch(_dtype_name(dtype))
    if match is None or (match[1] != "U" and int(match[2]) > 8):
        return None
    order = dtype.state[1] if type(dtype.state) is tuple and len(dtype.state) > 1 else "|"
    if order not in ("<", ">", "|", "="):
        return None
    return np.dtype(f"{order}{match[0]}")


def _dtype_name(dtype: Any) -> str:
    found = dtype.args[0] if isinstance(dtype, Object) and dtype.maker == _DTYPE and dtype.args else None
    return found if type(found) is str else ""


def _item_bytes(dtype: Any) -> int:
    """The bytes of one value. Raises inert.Unsupported for a dtype whose size its name does not tell."""
    match = re.fullmatch(r"([a-zA-Z])([0-9]{1,6})", _dtype_name(dtype))
    if match is None or match[1] == "V":  # a record may hold objects, which lie elsewhere
        raise inert.Unsupported(
            "le fichier contient un tableau d’un type que ce service ne lit pas ; "
            "écrivez le dictionnaire sans ce tableau"
        )
    return int(match[2]) * (_BYTES_OF_A_CHARACTER if match[1] == "U" else 1)


def _count(shape: Any) -> int:
    if not (type(shape) is tuple and all(type(length) is int and length >= 0 for length in shape)):
        raise BadPickle
    return math.prod(shape)


def _plain_bytes(content: Any) -> Any:
    """The bytes themselves: protocol 2 writes them as a call of _codecs.encode."""
    is_spelt = isinstance(content, Object) and content.maker == Name("_codecs", "encode")
    if not is_spelt:
        return content
    try:
        return content.args[0].encode("latin-1")
    except UnicodeEncodeError as error:
        raise BadPickle from error
