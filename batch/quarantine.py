"""Rows that were not decided on: a CSV of their numbers, the reasons, and the rows as they came."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from batch.arriving import ArrivingFile, part_of, writing
from batch.clients import Bad
from batch.errors import Refused
from batch.inputs import Inputs
from batch.writers import CsvWriter

SIZE = "quarantine_bytes"  # in the state of a run
_OWN = ("file", "row", "reason")


class Quarantine:
    """`state`: of a run that goes on, else empty. Raises Refused."""

    def __init__(self, path: Path, inputs: Inputs, state: Mapping[str, Any]) -> None:
        self.path = path
        if twice := next((name for name in _OWN if name in inputs.header), None):
            raise Refused(f"column {twice} of the input is one of the quarantine's own: rename it")
        kept = int(state.get(SIZE, 0))
        if kept and not _holds(part_of(path), kept):
            raise Refused(f"{part_of(path)} is not there as the run before has left it: begin anew")
        self._file = ArrivingFile(path, kept)
        with writing(path):
            names = [] if kept else [*_OWN, *inputs.header]
            self._writer = CsvWriter(self._file.stream, names, inputs.dialect)

    def add(self, file: str, bad: Sequence[Bad]) -> None:
        if bad:
            with writing(self.path):
                self._writer.write_cells([[file, one.row, one.reason, *one.cells] for one in bad])

    def size(self) -> int:
        """So many bytes, which are on the disk."""
        self._file.settle()
        return self._file.stream.tell()

    def publish(self) -> None:
        self._file.publish()

    def abandon(self, *, keep: bool) -> None:
        """`keep`: for a run that goes on."""
        self._file.abandon(keep=keep)


def _holds(part: Path, size: int) -> bool:
    return part.is_file() and part.stat().st_size >= size
