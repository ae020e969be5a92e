"""A Parquet file of clients: the columns that the API needs, as Arrow streams."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from dashboard.portfolio import files
from dashboard.portfolio.files import BadAnswer, BadFile

_CLIENTS = 10_000  # of a part: the answer is a few megabytes at most
_MOST_BYTES = 256 * 1024 * 1024  # of the columns that are read, unpacked
_LONGEST_TEXT = 1_000  # as the API's


class ParquetFile:
    media_type = "application/vnd.apache.arrow.stream"

    def __init__(self, content: bytes, features: Sequence[str]) -> None:
        self._content, self._features = content, features
        with _complaints():
            file = pq.ParquetFile(pa.BufferReader(content))
            names, self.rows = file.schema_arrow.names, file.metadata.num_rows
        files.check_columns(names, features)
        files.check_rows(self.rows)
        kinds = dict(zip(names, file.schema_arrow.types, strict=True))
        self.others = [name for name in files.others(names, features) if not pa.types.is_nested(kinds[name])]
        self._table: pa.Table | None = None

    def spans(self) -> list[tuple[int, int]]:
        starts = range(0, self.rows, _CLIENTS)
        return [(start, min(start + _CLIENTS, self.rows)) for start in starts]

    def body(self, start: int, stop: int, keep: Sequence[str]) -> bytes:
        wanted = [*self._features, *keep]
        if self._table is None or self._table.column_names != wanted:
            self._table = self._read(wanted)
        part = self._table.slice(start, stop - start).combine_chunks()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, part.schema) as stream:
            stream.write_table(part)
        return sink.getvalue().to_pybytes()

    def decisions(self, answer: bytes, numbers: Collection[str]) -> pa.Table:
        try:
            return pa.ipc.open_stream(answer).read_all()
        except (pa.ArrowException, OSError) as error:
            raise BadAnswer from error

    def cells(self, row: int, names: Sequence[str]) -> list[str]:
        if self._table is None:
            return [""] * len(names)
        found = [self._table.column(name)[row].as_py() for name in names]
        return ["" if value is None else str(value) for value in found]

    def line(self, row: int) -> int:
        return row + 1

    def empty_rows(self) -> list[int]:
        return []

    def _read(self, wanted: Sequence[str]) -> pa.Table:
        """Texts stay dictionaries until the longest is known: a long one may be there for each client."""
        with _complaints():
            file = pq.ParquetFile(pa.BufferReader(self._content), read_dictionary=list(wanted))
            self._check_size(file, wanted)
            table = file.read(list(wanted), use_threads=False)
            columns = [_plain(table.column(name)) for name in wanted]
        return pa.table(columns, names=list(wanted))

    def _check_size(self, file: pq.ParquetFile, wanted: Collection[str]) -> None:
        groups = [file.metadata.row_group(place) for place in range(file.num_row_groups)]
        columns = [group.column(place) for group in groups for place in range(group.num_columns)]
        if sum(one.total_uncompressed_size for one in columns if one.path_in_schema in wanted) > _MOST_BYTES:
            raise BadFile("Les colonnes demandées de ce fichier dépassent 256 Mio une fois décompressées.")


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """As the API takes it: no dictionary, no decimal, a date as its text."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        for chunk in column.chunks:
            if any(len(value.as_py() or "") > _LONGEST_TEXT for value in chunk.dictionary):
                raise BadFile("Une colonne demandée contient un texte de plus de 1\u202f000 caractères.")
        return _plain(column.cast(kind.value_type))
    if pa.types.is_decimal(kind):
        return column.cast(pa.float64())
    if pa.types.is_temporal(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string())
    return column


@contextmanager
def _complaints() -> Iterator[None]:
    """pyarrow's own complaints in our words."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise BadFile("Ce fichier Parquet est abîmé, ou d’une forme qui n’est pas lue ici.") from error
