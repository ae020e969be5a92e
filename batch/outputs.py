"""Where decided clients go: a file, a folder of parts, or standard output. A file or folder comes whole.

A file is written as OUTPUT.part and renamed at the end. What a killed run leaves there is written over.

A folder is written as OUTPUT.part, in parts of about a million rows, and renamed at the end. A part that is
not whole has a name of its own, and `_run.json` beside the parts says how far the run has come, and of which
input, model and code. So another run can go on (`--resume`), and one of the same that has ended is known.
Without that file a folder is none of ours.

Why a folder and not one file that is joined in the end: joining Parquet means to read and write everything
again, and what reads such files (pandas, DuckDB, Polars, Spark) reads a folder as one table. Spark itself
writes one.
"""

import abc
import contextlib
import hashlib
import io
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from batch.arriving import ArrivingFile, held_folder, name_folder, part_of, writing
from batch.errors import Refused
from batch.hashed import Hashed
from batch.writers import Writer
from journal.plural import counted

ROWS_OF_A_PART = 1_000_000
STATE = "_run.json"
_READ = 1024 * 1024

Open = Callable[[BinaryIO], Writer]
State = Mapping[str, Any]
Kept = Callable[[], State]  # asked for where it is kept, for all that it tells of must be on the disk by then


class Output(abc.ABC):
    """`path`: as a sentence names it. All raise Refused where the system refuses."""

    path: Path

    @abc.abstractmethod
    def sealed(self, kept: Kept) -> str:
        """Have all of it on the disk, and return its digest."""

    @abc.abstractmethod
    def publish(self) -> None:
        """Give it its name."""

    @abc.abstractmethod
    def abandon(self) -> None:
        """Leave nothing but what another run can go on from."""

    @property
    def has_parts(self) -> bool:
        """Whether another run can go on from what was abandoned."""
        return False

    def left(self) -> str:
        """What is left of it once it was abandoned."""
        return f"nothing is left of {self.path.name}"


class WrittenHere(Output):
    """An output that this process writes, and no executor of Spark's."""

    @property
    def state(self) -> State:
        """Of the run that this one goes on with; empty without one."""
        return {}

    @abc.abstractmethod
    def write(self, batch: pa.RecordBatch, kept: Kept) -> None:
        """`kept`: the state of the run after this batch, which another run goes on from."""


class FileOutput(WrittenHere):
    """One file. `replaces`: nothing but a file of this name."""

    def __init__(self, path: Path, open_writer: Open) -> None:
        self.path, self._file = path, ArrivingFile(path)
        with writing(path):
            self._writer = open_writer(self._file.stream)

    def write(self, batch: pa.RecordBatch, _: Kept) -> None:
        with writing(self.path):
            self._writer.write(batch)

    def sealed(self, _: Kept) -> str:
        with writing(self.path):
            self._writer.close()
        self._file.settle()
        with writing(self.path):
            return digest_of_file(self._file.part)

    def publish(self) -> None:
        self._file.publish()

    def abandon(self) -> None:
        self._writer.abandon()
        self._file.abandon()


class Finished(Exception):
    """There is nothing to go on with: the run has ended, and its folder has its name, and all its parts.

    `record`: what the run has told of itself.
    """

    def __init__(self, record: State) -> None:
        super().__init__()
        self.record = record


class FolderOutput(WrittenHere):
    """Parts. `of`: what the run is of, which must be the same for another run to go on.

    Raises Finished where a run of the same has ended, and is gone on with.
    """

    def __init__(
        self, path: Path, open_writer: Open, ending: str, of: Mapping[str, str], *, resume: bool
    ) -> None:
        self.path, self._open, self._ending, self._of = path, open_writer, ending, dict(of)
        self._folder = part_of(path)
        check_free(path, of, resume=resume)
        with writing(path):
            is_new = self._made()
            self._lock = held_folder(self._folder, path)
        self._parts: list[str] = []
        self._digests: list[str] = []
        self._part: FileOutput | None = None
        self._rows = 0
        self._state: State = {}
        try:
            if is_new:
                self._keep({})
            else:
                self._go_on(resume=resume)
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def state(self) -> State:
        return self._state

    def _made(self) -> bool:
        """Whether the folder was not there."""
        try:
            self._folder.mkdir(0o700)
        except FileExistsError:
            return False
        return True

    def _go_on(self, *, resume: bool) -> None:
        """From where the former run has come to. Raises Refused."""
        if not resume:
            raise Refused(
                f"{self._folder} is of a run that did not end: --resume goes on with it, or remove it"
            )
        try:
            found = json.loads((self._folder / STATE).read_bytes())
            of, self._parts, self._digests = found["of"], [*found["parts"]], [*found["digests"]]
            self._state = dict(found["state"])
            differing = next((name for name, value in self._of.items() if of.get(name) != value), None)
            is_whole = self._parts == [self._name(number) for number in range(len(self._digests))]
        except FileNotFoundError:
            raise Refused(f"{self._folder} is of no run that can go on: remove it, or name another") from None
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            differing, is_whole = None, False
        if differing is not None:
            raise Refused(
                f"{self._folder} was begun with another {differing}: take the same one, or remove the folder"
            )
        if not is_whole:
            raise Refused(f"{self._folder / STATE} is damaged: remove {self._folder}, and begin anew")
        self._check_folder()

    def _name(self, number: int) -> str:
        return f"part-{number:05}{self._ending}"

    def _check_folder(self) -> None:
        """Raises Refused unless all in it is what the former run has written."""
        next_part = self._name(len(self._parts))  # whole perhaps, when the run was killed, and written again
        own = {*self._parts, STATE, next_part, part_of(Path(STATE)).name, part_of(Path(next_part)).name}
        if others := sorted({one.name for one in self._folder.iterdir()} - own):
            raise Refused(f"{self._folder / others[0]} is not of the run before: move it away")
        _check_parts(self._folder, self._parts, self._digests)

    def _keep(self, state: State) -> None:
        keep(
            self._folder,
            {"of": self._of, "parts": self._parts, "digests": self._digests, "state": state},
        )

    def write(self, batch: pa.RecordBatch, kept: Kept) -> None:
        if self._part is None:
            self._part = FileOutput(self._folder / self._name(len(self._parts)), self._open)
        self._part.write(batch, kept)
        self._rows += len(batch)
        if self._rows >= ROWS_OF_A_PART:
            self._finish_part(kept)

    def _finish_part(self, kept: Kept) -> None:
        if self._part is None:
            return
        digest = self._part.sealed(kept)
        self._part.publish()
        self._parts.append(self._part.path.name)
        self._digests.append(digest)
        self._part, self._rows = None, 0
        self._keep(kept())

    def sealed(self, kept: Kept) -> str:
        """The digest of the parts' digests, one a line."""
        self._finish_part(kept)
        return digest_of_several(self._digests)

    def publish(self) -> None:
        name_folder(self._folder, self.path)
        os.close(self._lock)

    def abandon(self) -> None:
        """Keep the whole parts, which another run can go on from."""
        if self._part is not None:
            self._part.abandon()
        if not self._parts:
            (self._folder / STATE).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # what somebody else has put there stays
                self._folder.rmdir()
        with contextlib.suppress(OSError):
            os.close(self._lock)

    @property
    def has_parts(self) -> bool:
        return bool(self._parts)

    def left(self) -> str:
        if not self._parts:
            return super().left()
        stay = counted(len(self._parts), "whole part stays", "whole parts stay")
        return f"{stay} in {self._folder}: --resume goes on with them"


def _record(folder: Path) -> Any:
    return json.loads((folder / STATE).read_bytes())


def _whole(folder: Path) -> State:
    """The record of a run that has ended, all of whose parts are there. Raises Refused."""
    try:
        record = _record(folder)
        _check_parts(folder, record["parts"], record["digests"])
        return {**record, "state": {**record["state"]}}
    except (OSError, ValueError, TypeError, KeyError):
        raise Refused(f"{folder / STATE} is damaged: remove {folder}, and begin anew") from None


def note(folder: Path, what: str) -> None:
    """In the record of a run that has ended. Raises Refused."""
    keep(folder, {**_record(folder), what: True})


def keep(folder: Path, record: State) -> None:
    """What a run tells of itself to another one. Raises Refused."""
    kept = ArrivingFile(folder / STATE)
    with writing(folder):
        kept.stream.write(json.dumps(record).encode())
    kept.publish()


def _check_parts(folder: Path, parts: Sequence[str], digests: Sequence[str]) -> None:
    """Raises Refused unless they are what a run has written there."""
    for name, digest in zip(parts, digests, strict=True):
        part = folder / name
        try:
            is_the_same = digest_of_file(part) == digest
        except FileNotFoundError:
            raise Refused(f"{part} is gone: remove {folder}, and begin anew") from None
        except OSError as error:
            raise Refused(f"{part} cannot be read: remove {folder}, and begin anew") from error
        if not is_the_same:
            raise Refused(f"{part} was changed: remove {folder}, and begin anew")


def check_free(folder: Path, of: Mapping[str, str], *, resume: bool) -> None:
    """Raises Refused if something has this name, or Finished if it is what a run of the same has written."""
    with writing(folder):
        is_there = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if is_there and resume and is_of(folder, of):
        raise Finished(_whole(folder))
    if is_there:
        raise Refused(f"{folder} is there already: name a folder that is not")


def is_of(folder: Path, of: Mapping[str, str]) -> bool:
    """Whether a run of the same has written there."""
    try:
        return bool(_record(folder)["of"] == dict(of))
    except (OSError, ValueError, TypeError, KeyError):
        return False


class StandardOutput(WrittenHere):
    """What was written has left: a reader must look at the exit code."""

    path = Path("standard output")

    def __init__(self, open_writer: Open) -> None:
        if sys.stdout is None:
            raise Refused("standard output is closed")
        with writing(self.path):
            self._hashed = Hashed(io.FileIO(1, "wb", closefd=False))
            self._stream = io.BufferedWriter(self._hashed)
            self._writer = open_writer(self._stream)

    def write(self, batch: pa.RecordBatch, _: Kept) -> None:
        with writing(self.path):
            self._writer.write(batch)

    def sealed(self, _: Kept) -> str:
        with writing(self.path):
            self._writer.close()
            self._stream.flush()
        return self._hashed.digest

    def publish(self) -> None: ...

    def abandon(self) -> None:
        self._writer.abandon()

    def left(self) -> str:
        return "what has left through standard output is not whole"


def digest_of_file(path: Path, size: int | None = None) -> str:
    """SHA-256 of its bytes, or of the first ones. Raises OSError."""
    found = hashlib.sha256()
    with path.open("rb") as content:
        while part := content.read(min(_READ, _READ if size is None else size)):
            found.update(part)
            size = None if size is None else size - len(part)
    return found.hexdigest()


def digest_of_several(digests: list[str]) -> str:
    """Of one file its own; of several the SHA-256 of their digests, one a line, as sha256sum gives it."""
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(f"{one}\n" for one in digests).encode()).hexdigest()
