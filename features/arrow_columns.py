"""Arrow's columns as NumPy's, and back: what a scorer decides on, and what it has answered.

Read and written by their buffers, since pyarrow's own conversions may import pandas: `pa.array` of a list
does, and `DataType.to_pandas_dtype`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Column = npt.NDArray[Any]

NUMBERS = {
    pa.int8(): np.int8,
    pa.int16(): np.int16,
    pa.int32(): np.int32,
    pa.int64(): np.int64,
    pa.uint8(): np.uint8,
    pa.uint16(): np.uint16,
    pa.uint32(): np.uint32,
    pa.uint64(): np.uint64,
    pa.float16(): np.float16,
    pa.float32(): np.float32,
    pa.float64(): np.float64,
}
TEXTS = frozenset({pa.utf8(), pa.large_utf8()})

_KINDS = {float: pa.float64(), int: pa.int64(), bool: pa.bool_()}
_EXACT = 2.0**53  # from here on a double may stand for several integers


def is_numeric(kind: Any) -> bool:
    """Whether `values` reads a column of this type: numbers, or nothing but nulls."""
    return kind in NUMBERS or kind == pa.null()


def values(array: Any) -> Column:
    """Doubles, NaN for null; Python's integers and None where an integer may not fit in a double."""
    if array.type == pa.null() or not len(array):
        return np.full(len(array), np.nan)
    validity, data = array.buffers()
    end = array.offset + len(array)
    found = np.frombuffer(data, NUMBERS[array.type], end)[array.offset :]
    if not array.null_count:
        return _with_missing(found, None)
    bits = np.unpackbits(np.frombuffer(validity, np.uint8), count=end, bitorder="little")
    return _with_missing(found, bits[array.offset :] == 0)


def _with_missing(found: Column, missing: Column | None) -> Column:
    doubles = found.astype(np.float64)
    if found.dtype.kind in "iu" and (np.abs(doubles) >= _EXACT).any():
        integers = found.astype(object)
        if missing is not None:
            integers[missing] = None
        return integers
    if missing is not None:
        doubles[missing] = np.nan
    return doubles


def array(column: Column) -> Any:
    """Doubles, or Python objects of one kind and None, as an array of Arrow."""
    if column.dtype == np.float64:
        return _of_buffers(pa.float64(), np.ascontiguousarray(column))
    found = column.tolist()
    kinds = set(map(type, found)) - {type(None)}
    if kinds == {str}:
        return texts(found)
    return _of_one_kind(found, next(iter(kinds), None))


def texts(found: Sequence[str | None]) -> Any:
    """Of many texts few are different: each is encoded once."""
    encoded = {text: (text or "").encode() for text in set(found)}
    ends = np.cumsum([0, *(len(encoded[text]) for text in found)], dtype=np.int64)
    kind, width = (pa.utf8(), np.int32) if ends[-1] < 2**31 else (pa.large_utf8(), np.int64)
    data = b"".join([encoded[text] for text in found])
    buffers = [_validity(found), pa.py_buffer(ends.astype(width)), pa.py_buffer(data)]
    return pa.Array.from_buffers(kind, len(found), buffers)


def coded(found: Sequence[str], known: Sequence[str] = ()) -> Any:
    """Texts of which few are different, as a dictionary that begins with those that are known."""
    places = {text: place for place, text in enumerate(dict.fromkeys([*known, *found]))}
    codes = np.fromiter(map(places.__getitem__, found), np.int32, len(found))
    return pa.DictionaryArray.from_arrays(_of_buffers(pa.int32(), codes), texts([*places]))


def _of_one_kind(found: Sequence[Any], kind: type | None) -> Any:
    """Numbers, booleans, or nothing but None."""
    if kind is None:
        return pa.nulls(len(found))
    validity = _validity(found)
    if kind is bool:
        bits = np.packbits(np.fromiter(map(bool, found), np.bool_, len(found)), bitorder="little")
        return pa.Array.from_buffers(pa.bool_(), len(found), [validity, pa.py_buffer(bits)])
    numbers = np.fromiter((0 if one is None else one for one in found), NUMBERS[_KINDS[kind]], len(found))
    return pa.Array.from_buffers(_KINDS[kind], len(found), [validity, pa.py_buffer(numbers)])


def _of_buffers(kind: Any, column: Column) -> Any:
    return pa.Array.from_buffers(kind, len(column), [None, pa.py_buffer(column)])


def _validity(found: Iterable[object]) -> Any:
    """Which are not None, as bits; None where all are."""
    known = np.fromiter((one is not None for one in found), np.bool_)
    return None if known.all() else pa.py_buffer(np.packbits(known, bitorder="little"))
