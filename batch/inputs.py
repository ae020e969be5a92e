"""All files of an input, checked before the first client is decided on, then read one after the other."""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from batch import formats
from batch.clients import Chunk, Source
from batch.csv_source import CsvSource
from batch.errors import Refused
from batch.outputs import digest_of_several
from batch.raw_input import RawInput
from batch.writers import PLAIN
from features.csv_dialect import Dialect


class Inputs:
    """`schema`: of the columns that are no features, the same in all files. Raises Refused.

    `dialect`: of the first file, if that is CSV. `are_files`: whether they can be read again. `called`: what
    sentences name the one file, if not by its path.
    """

    def __init__(
        self, given: str, form: str | None, features: Sequence[str], called: str | None = None
    ) -> None:
        self.paths = formats.files(given, form)
        self._how = form, features, called
        first, raw = formats.opened(self.paths[0], *self._how)
        self.schema: pa.Schema = first.schema
        self.header = [name for name in first.header if name.strip()]
        self.dialect: Dialect = first.dialect if isinstance(first, CsvSource) else PLAIN
        self.are_files = self.paths != [None]
        self._first: Source | None = first
        self._raws: list[RawInput] = [raw]
        self._files_read = 0
        self._open: RawInput | None = raw
        self._now: Source = first
        try:
            for path in self.paths[1:]:
                self._raws.append(self._checked(path, first))
        except BaseException:
            self.close()
            raise

    def _checked(self, path: Path | None, first: Source) -> RawInput:
        """Another file, closed again. Raises Refused."""
        other, raw = formats.opened(path, *self._how)
        raw.close()
        if not other.schema.equals(first.schema):
            raise Refused(f"{other.name} has not the columns of {first.name}: score them one by one")
        return raw

    def close(self) -> None:
        for raw in self._raws:
            raw.close()
        if self._open is not None:
            self._open.close()

    def sources(self) -> Iterator[Source]:
        """Each file, opened again for what its beginning and its end tell."""
        for path in self.paths:
            source, raw = formats.opened(path, *self._how)
            with contextlib.closing(raw):
                yield source

    def chunks(self, skipped: int) -> Iterator[tuple[Source, Chunk]]:
        """All but the first ones. Raises Refused."""
        return itertools.islice(self._chunks(), skipped, None)

    def _chunks(self) -> Iterator[tuple[Source, Chunk]]:
        for number, path in enumerate(self.paths):
            raw = self._raws[number]
            if self._first is None:
                source, raw = formats.opened(path, *self._how)
            else:
                source, self._first = self._first, None
            self._now, self._open = source, raw
            for chunk in source.chunks():
                yield source, chunk
            raw.close()
            self._raws[number].check_unchanged()
            self._files_read += 1

    def share(self) -> float | None:
        """How much was read, from 0 to 1, as far as anybody knows."""
        of_this = self._now.share()
        if of_this is None or self._files_read == len(self.paths):
            return None
        return (self._files_read + of_this) / len(self.paths)

    def check_unchanged(self) -> None:
        """Raises Refused if a file was written to since it was opened."""
        for raw in self._raws:
            raw.check_unchanged()

    def digest(self) -> str:
        """SHA-256 of the file; of several, of their digests. Of standard input once it has been read."""
        return digest_of_several([raw.digest() for raw in self._raws])
