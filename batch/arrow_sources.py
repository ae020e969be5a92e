"""Parquet files, and Arrow's own files and streams, as chunks of clients."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from batch import cells, clients, deciding
from batch.clients import Clients
from batch.errors import Refused
from batch.raw_input import RawInput
from features import arrow_columns
from mlflow_model.errors import MissingFeatures

_BUFFER = 65_536  # bytes of a column that are read at a time, where a row group is larger than a chunk


@dataclass(frozen=True)
class ArrowRows:
    """Rows of a file, or of a part of it. `first`: the number of its first row there, from 1."""

    batch: pa.RecordBatch
    first: int
    features: Sequence[str]

    @property
    def is_small(self) -> bool:
        return clients.is_small(len(self.batch), clients.rows_at_once(len(self.batch.schema.names)))

    def clients(self) -> Clients:
        return Clients(
            deciding.values(self.batch, self.features),
            deciding.others(self.batch, self.features),
            range(self.first, self.first + len(self.batch)),
            lambda place: [
                cells.of(name, self.batch.column(name).slice(place, 1)).tolist()[0]
                for name in self.batch.schema.names
            ],
        )


class _ArrowSource:
    """What these have in common. `kind`: as a sentence names it."""

    kind = "Arrow"

    def __init__(self, raw: RawInput, features: Sequence[str]) -> None:
        self.name, self._raw, self._features = raw.name, raw, features
        self._rows_read, self._rows = 0, 0
        with self._readable():
            self.columns: pa.Schema = self._open()
            self.header: list[str] = self.columns.names
        check_header(self.name, self.header, features)
        for name in features:
            if not arrow_columns.is_numeric(self.columns.field(name).type):
                raise Refused(
                    f"{self.name}: column {name} holds no numbers, but {self.columns.field(name).type}"
                )
        self.schema = deciding.others_schema(self.columns, features)

    def _open(self) -> pa.Schema:
        raise NotImplementedError

    def _batches(self) -> Iterator[pa.RecordBatch]:
        raise NotImplementedError

    def chunks(self) -> Iterator[ArrowRows]:
        most = clients.rows_at_once(len(self.header))
        batches = self._batches()
        while True:
            with self._readable():
                batch = next(batches, None)
            if batch is None:
                return
            for start in range(0, len(batch), most):
                part = batch.slice(start, most)
                yield ArrowRows(part, self._rows_read + 1, self._features)
                self._rows_read += len(part)

    def share(self) -> float | None:
        return self._rows_read / self._rows if self._rows else None

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        """Say in our words what pyarrow complains of by quoting it, and tell the machine's faults apart."""
        try:
            with self._raw.readable():
                yield
        except (MemoryError, StopIteration):
            raise
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise Refused(f"{self.name}: the file is damaged, cut off, or no {self.kind}") from error


class ParquetSource(_ArrowSource):
    kind = "Parquet"

    @property
    def rows(self) -> int:
        return self._rows

    def _open(self) -> pa.Schema:
        self._file = pq.ParquetFile(
            self._raw.seekable(), memory_map=False, pre_buffer=False, buffer_size=_BUFFER
        )
        self._rows = self._file.metadata.num_rows
        return self._file.schema_arrow

    def _batches(self) -> Iterator[pa.RecordBatch]:
        """Row groups, small ones together. `iter_batches` over all of them would keep their memory."""
        most = clients.rows_at_once(len(self.header))
        groups: list[int] = []
        rows = 0
        for number in range(self._file.metadata.num_row_groups):
            of_it = self._file.metadata.row_group(number).num_rows
            if groups and rows + of_it > most:
                yield from self._read(groups, rows, most)
                groups, rows = [], 0
            groups.append(number)
            rows += of_it
        if groups:
            yield from self._read(groups, rows, most)

    def _read(self, groups: Sequence[int], rows: int, most: int) -> Iterator[pa.RecordBatch]:
        if rows > most:
            yield from self._file.iter_batches(batch_size=most, row_groups=groups, use_threads=False)
            return
        table = self._file.read_row_groups(groups, use_threads=False)
        if len(groups) > 1:
            table = table.combine_chunks()
        yield from table.to_batches(max_chunksize=most)


class ArrowFileSource(_ArrowSource):
    def _open(self) -> pa.Schema:
        self._file = pa.ipc.open_file(self._raw.seekable())
        return self._file.schema

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for number in range(self._file.num_record_batches):
            yield _checked(self._file.get_batch(number))

    def share(self) -> float | None:
        return None


class ArrowStreamSource(_ArrowSource):
    def _open(self) -> pa.Schema:
        self._stream = pa.ipc.open_stream(self._raw.stream)
        return self._stream.schema

    def _batches(self) -> Iterator[pa.RecordBatch]:
        yield from map(_checked, self._stream)
        if self._raw.stream.read(1):
            raise Refused(f"{self.name}: something follows the end of the stream")

    def share(self) -> float | None:
        return self._raw.share()


def _checked(batch: Any) -> pa.RecordBatch:
    """Its claims compared with its buffers: otherwise a damaged batch could end the process."""
    batch.validate(full=True)
    return batch


def check_header(name: str, header: Sequence[str], features: Sequence[str]) -> None:
    """Raises Refused unless each feature is there, and no name twice."""
    there = set(header)
    lacking = [feature for feature in features if feature not in there]
    if lacking:
        raise Refused(f"{name}: {MissingFeatures(lacking, header)}")
    if twice := next((one for one, times in Counter(header).items() if times > 1), None):
        raise Refused(f"{name}: column {twice!r} is there more than once")
