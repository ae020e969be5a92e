"""Rows that were not decided on: a CSV of their numbers, the reasons, and the rows as they came."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from batch.arriving import ArrivingFile, part_of, writing
from batch.clients import Bad
from batch.errors import Refused
from batch.inputs import Inputs
from batch.outputs import digest_of_file
from batch.writers import CsvWriter

_OWN = ("file", "row", "reason")


class Quarantine:
    """`state`: that of a run that goes on, as `state` told it; else empty. Raises Refused."""

    def __init__(self, path: Path, inputs: Inputs, state: Mapping[str, Any]) -> None:
        self.path = path
        if twice := next((name for name in _OWN if name in inputs.header), None):
            raise Refused(f"column {twice} of the input is one of the quarantine's own: rename it")
        kept = int(state.get("bytes", 0))
        if kept:
            self._require(kept, state.get("sha256"))
        self._file = ArrivingFile(path, kept)
        with writing(path):
            names = [] if kept else [*_OWN, *inputs.header]
            self._writer = CsvWriter(self._file.stream, names, inputs.dialect)

    def _require(self, size: int, digest: object) -> None:
        """What the run before has left, which may have its name already if the run was killed at its end."""
        part = part_of(self.path)
        with writing(self.path):
            if not part.exists() and self.path.is_file():
                self.path.replace(part)
            is_left = part.is_file() and part.stat().st_size >= size
            is_the_same = is_left and digest_of_file(part, size) == digest
        if not is_the_same:
            raise Refused(f"{part} is not there as the run before has left it: begin anew")

    @staticmethod
    def check_whole(path: Path, state: Mapping[str, Any]) -> None:
        """That the file of a run that has ended is there, as `state` told it then. Raises Refused."""
        with writing(path):
            is_whole = path.is_file() and path.stat().st_size == state.get("bytes")
            if not is_whole or digest_of_file(path) != state.get("sha256"):
                raise Refused(f"{path} is not there as the run before has left it: remove the output, too")

    def add(self, file: str, bad: Sequence[Bad]) -> None:
        if bad:
            with writing(self.path):
                self._writer.write_cells([[file, one.row, one.reason, *one.cells] for one in bad])

    def state(self) -> dict[str, Any]:
        """How far it is on the disk."""
        self._file.settle()
        with writing(self.path):
            size = self._file.stream.tell()
            return {"bytes": size, "sha256": digest_of_file(self._file.part, size)}

    def publish(self) -> None:
        self._file.publish()

    def abandon(self, *, keep: bool) -> None:
        """`keep`: for a run that goes on."""
        self._file.abandon(keep=keep)
