"""A batch as one Arrow stream. What its metadata claim is checked before anything is allocated for it."""

import contextlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from api.deciding.formats import checked_columns, kept_columns
from api.deciding.formats.checked_columns import Column
from api.deciding.formats.clients import Clients
from api.paths import MOST_IN_ARROW
from features import arrow_columns
from mlflow_model.errors import BadData, TooManyClients

MEDIA_TYPE = "application/vnd.apache.arrow.stream"

_METADATA_LIMIT = 1024 * 1024  # of one message; a schema of thousands of columns fits
_BATCH_LIMIT = 1_000
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_KEPT = frozenset({*arrow_columns.NUMBERS, *arrow_columns.TEXTS, pa.bool_(), pa.null()})
_PACKED = "le corps est compressé ({}) : envoyez le flux Arrow sans le compresser"
_OTHER_BEGINNINGS = {
    b"ARROW1": "le corps est un fichier Arrow, et non un flux : écrivez-le par pyarrow.ipc.new_stream",
    b"\x1f\x8b": _PACKED.format("gzip"),
    b"\x28\xb5\x2f\xfd": _PACKED.format("zstd"),
    b"\x04\x22\x4d\x18": _PACKED.format("lz4"),
}
_BROKEN = "le flux Arrow est corrompu ou tronqué"


def read(body: bytes, features: Sequence[str], keep: Sequence[str]) -> Clients:
    """The clients, their values as doubles, or as Python objects where integers may not fit in them."""
    for beginning, fault in _OTHER_BEGINNINGS.items():
        if body.startswith(beginning):
            raise BadData(fault)
    with _complaints():
        schema = _checked_messages(body)
        places = checked_columns.positions(schema.names, features, keep)
        types = {name: schema.field(place).type for name, place in places.items()}
        for name in features:
            _check_type(name, types[name])
        for name in keep:
            if types[name] not in _KEPT:
                raise kept_columns.of_another_kind(name)
        batches = list(_batches(body, sorted(places.values())))
    values = {name: _values([batch.column(name) for batch in batches]) for name in features}
    kept = {name: _kept(name, types[name], [batch.column(name) for batch in batches]) for name in keep}
    return Clients(values, lambda decisions: _written(kept, decisions))


def _kept(name: str, kind: Any, parts: Sequence[Any]) -> Any:
    """A kept column as one array."""
    array = pa.chunked_array(parts, kind).combine_chunks()
    if kind in arrow_columns.TEXTS:
        for place in np.flatnonzero(_lengths(array) > kept_columns.LONGEST_VALUE):
            kept_columns.check_length(name, int(place) + 1, array[int(place)].as_py() or "")
    return array


def _lengths(array: Any) -> Column:
    """In bytes: no text has more characters."""
    if not len(array):
        return np.empty(0)
    width = np.int32 if array.type == pa.utf8() else np.int64
    ends = np.frombuffer(array.buffers()[1], width, array.offset + len(array) + 1)[array.offset :]
    return np.diff(ends)


def _written(kept: Mapping[str, Any], decisions: Mapping[str, Column]) -> bytes:
    """The kept columns as they came, then the decision's own, each with the type of its values."""
    arrays = [arrow_columns.array(column) for column in decisions.values()]
    batch = pa.RecordBatch.from_arrays([*kept.values(), *arrays], names=[*kept, *decisions])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    content: bytes = sink.getvalue().to_pybytes()
    return content


@contextlib.contextmanager
def _complaints() -> Iterator[None]:
    """pyarrow's own complaints, which quote what they read, in the contract's words."""
    try:
        yield
    except MemoryError:  # pyarrow's own is one of its complaints, too
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError, struct.error) as error:
        raise BadData(_BROKEN) from error


def _checked_messages(body: bytes) -> Any:
    """The schema of a stream that holds record batches only, uncompressed, up to its end marker.

    Without the marker, a stream cut between two batches would lose clients without a word.
    """
    source = pa.BufferReader(body)
    messages = pa.ipc.MessageReader.open_stream(source)
    schema, batches, end = None, 0, 0
    for message in _each(messages):
        end = source.tell()
        if message.metadata.size > _METADATA_LIMIT:
            raise BadData("le flux Arrow décrit trop de colonnes")
        if schema is None:
            schema = _schema(message)
            continue
        _check_batch(message)
        batches += 1
        if batches > _BATCH_LIMIT:
            raise BadData(f"le flux Arrow a plus de {_BATCH_LIMIT} lots d’enregistrements (record batches)")
    if schema is None or body[end:] != _END_OF_STREAM:
        raise BadData(_BROKEN)
    return schema


def _each(messages: Any) -> Iterator[Any]:
    with contextlib.suppress(StopIteration):
        while True:
            yield messages.read_next_message()


def _schema(message: Any) -> Any:
    """The type first: pyarrow 25 takes the metadata of any message for a schema's, and dies of it."""
    if message.type != "schema":
        raise BadData(_BROKEN)
    return pa.ipc.read_schema(message)


def _check_batch(message: Any) -> None:
    if message.type != "record batch":
        raise BadData("le flux Arrow ne doit pas avoir de colonnes à dictionnaire")
    if _is_compressed(message.metadata.to_pybytes()):
        raise BadData(
            "les lots d’enregistrements du flux Arrow ne doivent pas être compressés : "
            "écrivez-les avec IpcWriteOptions(compression=None)"
        )


def _is_compressed(metadata: bytes) -> bool:
    """Whether a record batch's metadata, which pyarrow has verified, have the field `compression`.

    pyarrow does not show it, and would allocate what a compressed buffer claims to hold.
    https://github.com/apache/arrow/blob/main/format/Message.fbs: header is field 2 of Message, compression
    field 3 of RecordBatch.
    """
    (message,) = struct.unpack_from("<I", metadata)
    header = _field(metadata, message, 2)
    (offset,) = struct.unpack_from("<I", metadata, header)
    return _field(metadata, header + offset, 3) != 0


def _field(flatbuffer: bytes, table: int, number: int) -> int:
    """Where a flatbuffer table keeps a field, 0 if it has none. The table's vtable lists the offsets."""
    vtable = table - struct.unpack_from("<i", flatbuffer, table)[0]
    (size,) = struct.unpack_from("<H", flatbuffer, vtable)
    entry = 4 + 2 * number
    offset = struct.unpack_from("<H", flatbuffer, vtable + entry)[0] if entry < size else 0
    return table + offset if offset else 0


def _check_type(name: str, kind: Any) -> None:
    if not arrow_columns.is_numeric(kind):
        raise BadData(f"la colonne '{name}' doit être numérique (entiers ou flottants)")


def _batches(body: bytes, places: Sequence[int]) -> Iterator[Any]:
    """The record batches with the features' columns only, each verified against its buffers."""
    options = pa.ipc.IpcReadOptions(included_fields=places, use_threads=False)
    rows = 0
    for batch in pa.ipc.open_stream(pa.BufferReader(body), options=options):
        rows += batch.num_rows
        if rows > MOST_IN_ARROW:
            raise TooManyClients(MOST_IN_ARROW)
        batch.validate(full=True)
        yield batch


def _values(parts: Sequence[Any]) -> Column:
    return np.concatenate([arrow_columns.values(part) for part in parts]) if parts else np.empty(0)
