"""Rows that were not decided on: a CSV of their numbers, the reasons, and the rows as they came."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from batch.clients import Bad
from batch.errors import Refused
from batch.inputs import Inputs
from batch.outputs import exclusive, writing
from batch.writers import CsvWriter

SIZE = "quarantine_bytes"  # in the state of a run
_OWN = ("file", "row", "reason")


class Quarantine:
    """Written as FILE.part, and renamed at the end. `state`: of a run that goes on, else empty."""

    def __init__(self, path: Path, inputs: Inputs, state: Mapping[str, Any]) -> None:
        self.path, self._part = path, path.with_name(path.name + ".part")
        size = int(state.get(SIZE, 0))
        if size and (not self._part.is_file() or self._part.stat().st_size < size):
            raise Refused(f"{self._part} is not there as the run before has left it: begin anew")
        if twice := next((name for name in _OWN if name in inputs.header), None):
            raise Refused(f"column {twice} of the input is one of the quarantine's own: rename it")
        with writing(path):
            self._stream = exclusive(self._part, size)
            names = [] if size else [*_OWN, *inputs.header]
            self._writer = CsvWriter(self._stream, names, inputs.dialect)

    def add(self, file: str, bad: Sequence[Bad]) -> None:
        if bad:
            with writing(self.path):
                self._writer.write_cells([[file, one.row, one.reason, *one.cells] for one in bad])

    def size(self) -> int:
        with writing(self.path):
            self._stream.flush()
            return self._stream.tell()

    def publish(self) -> None:
        with writing(self.path):
            self._stream.close()
            self._part.replace(self.path)

    def abandon(self, *, keep: bool) -> None:
        """`keep`: for a run that goes on."""
        with contextlib.suppress(OSError):
            self._stream.close()
        if not keep:
            self._part.unlink(missing_ok=True)
