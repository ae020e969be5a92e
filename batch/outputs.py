"""Where decided clients go: a file, a folder of parts, or standard output. A file or folder comes whole.

A file is written as OUTPUT.part and renamed at the end. What a killed run leaves there is written over.

A folder is written as OUTPUT.part, in parts of about a million rows, and renamed at the end. A part that is
not whole has a name of its own, and `_run.json` beside the parts says how far the run has come, and of which
input, model and code. So another run can go on (`--resume`).

Why a folder and not one file that is joined in the end: joining Parquet means to read and write everything
again, and what reads such files (pandas, DuckDB, Polars, Spark) reads a folder as one table. Spark itself
writes one.
"""

import contextlib
import fcntl
import hashlib
import io
import json
import os
import shutil
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from batch.errors import Refused
from batch.writers import Writer
from mlflow_model import files

ROWS_OF_A_PART = 1_000_000
STATE = "_run.json"
_UNFINISHED = ".part"

Open = Callable[[BinaryIO], Writer]


@contextlib.contextmanager
def writing(name: object) -> Iterator[None]:
    """Say what the system refuses to write. Raises Refused."""
    try:
        yield
    except BrokenPipeError:
        raise
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, MemoryError):
            raise
        number = getattr(error, "errno", None)
        why = os.strerror(number) if number else str(error)
        raise Refused(f"{name} cannot be written: {why}") from error


class FileOutput:
    """One file. `replaces`: nothing but a file of this name."""

    def __init__(self, path: Path, open_writer: Open) -> None:
        self.path = path
        self._part = path.with_name(path.name + _UNFINISHED)
        if path.exists() and not path.is_file():
            raise Refused(f"{path} is no file, and would have to be replaced")
        with writing(path):
            self._stream = exclusive(self._part)
            self._writer = open_writer(self._stream)

    def write(self, batch: pa.RecordBatch, _: Mapping[str, Any]) -> None:
        with writing(self.path):
            self._writer.write(batch)

    def sealed(self, _: Mapping[str, Any]) -> str:
        """The digest of all bytes, which are on the disk."""
        with writing(self.path):
            self._writer.close()
            self._stream.flush()
            os.fsync(self._stream.fileno())
            return _digest(self._part)

    def publish(self) -> None:
        with writing(self.path):
            self._part.replace(self.path)
            files.settle(self.path.parent)
        self._stream.close()

    def abandon(self) -> None:
        if not self._stream.closed:
            _forget(self._writer)
            self._part.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # of what was not written yet
                self._stream.close()

    has_parts = False
    state: Mapping[str, Any] = types.MappingProxyType({})

    def left(self) -> str:
        return f"nothing is left of {self.path.name}"


class FolderOutput:
    """Parts. `of`: what the run is of, which must be the same for another run to go on."""

    def __init__(
        self, path: Path, open_writer: Open, ending: str, of: Mapping[str, str], *, resume: bool
    ) -> None:
        self.path, self._open, self._ending, self._of = path, open_writer, ending, dict(of)
        self._folder = path.with_name(path.name + _UNFINISHED)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise Refused(f"{path} is there already: name a folder that is not")
        with writing(path):
            self._begin(resume)
            self._lock = files.hold(self._folder)
        self.state = self._state()
        self._parts: list[str] = self.state.get("parts", [])
        self._part: FileOutput | None = None
        self._rows = 0

    def _begin(self, resume: bool) -> None:
        if self._folder.exists():
            if _is_held(self._folder):
                raise Refused(f"another run writes {self._folder}")
            if not resume:
                raise Refused(
                    f"{self._folder} is of a run that did not end: --resume goes on with it, or remove it"
                )
        self._folder.mkdir(exist_ok=True)

    def _state(self) -> dict[str, Any]:
        """How far the former run has come; empty if there was none. Raises Refused."""
        try:
            found = json.loads((self._folder / STATE).read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise Refused(
                f"{self._folder / STATE} is damaged: remove {self._folder}, and begin anew"
            ) from error
        for name, value in self._of.items():
            if found["of"].get(name) != value:
                raise Refused(
                    f"{self._folder} was begun with another {name}: take the same one, or remove the folder"
                )
        for name in found["parts"]:
            if not (self._folder / name).is_file():
                raise Refused(f"{self._folder} has lost {name}: remove the folder, and begin anew")
        return dict(found)

    def write(self, batch: pa.RecordBatch, state: Mapping[str, Any]) -> None:
        """`state`: of the run after this batch, which another run goes on from."""
        if self._part is None:
            name = f"part-{len(self._parts):05}{self._ending}"
            self._part = FileOutput(self._folder / name, self._open)
        self._part.write(batch, state)
        self._rows += len(batch)
        if self._rows >= ROWS_OF_A_PART:
            self._finish_part(state)

    def _finish_part(self, state: Mapping[str, Any]) -> None:
        if self._part is None:
            return
        digest = self._part.sealed(state)
        self._part.publish()
        self._parts.append(self._part.path.name)
        self._part, self._rows = None, 0
        self.state = {
            **state,
            "of": self._of,
            "parts": self._parts,
            "digests": [*self.state.get("digests", []), digest],
        }
        with writing(self.path):
            arriving = self._folder / (STATE + _UNFINISHED)
            arriving.write_text(json.dumps(self.state))
            files.settle(arriving)
            arriving.replace(self._folder / STATE)

    def sealed(self, state: Mapping[str, Any]) -> str:
        """The digest of the parts' digests, one a line."""
        self._finish_part(state)
        return digest_of_several(self.state.get("digests", []))

    def publish(self) -> None:
        with writing(self.path):
            if self.path.exists():
                self.path.rmdir()
            self._folder.rename(self.path)
            (self.path / STATE).unlink(missing_ok=True)
            files.settle(self.path.parent)
        os.close(self._lock)

    def abandon(self) -> None:
        """Keep the whole parts, which another run can go on from."""
        if self._part is not None:
            self._part.abandon()
        if not self._parts and self._folder.exists():
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def has_parts(self) -> bool:
        return bool(self._parts)

    def left(self) -> str:
        if not self._parts:
            return f"nothing is left of {self.path.name}"
        return f"{len(self._parts)} whole part(s) stay in {self._folder}: --resume goes on with them"


class StandardOutput:
    """What was written has left: a reader must look at the exit code."""

    path = Path("standard output")

    def __init__(self, open_writer: Open) -> None:
        self._stream = _Counted(sys.stdout.buffer)
        with writing(self.path):
            self._writer = open_writer(self._stream)  # type: ignore[arg-type]

    def write(self, batch: pa.RecordBatch, _: Mapping[str, Any]) -> None:
        with writing(self.path):
            self._writer.write(batch)

    def sealed(self, _: Mapping[str, Any]) -> str:
        with writing(self.path):
            self._writer.close()
            sys.stdout.flush()
        return self._stream.found.hexdigest()

    def publish(self) -> None:
        pass

    def abandon(self) -> None:
        _forget(self._writer)

    has_parts = False
    state: Mapping[str, Any] = types.MappingProxyType({})

    def left(self) -> str:
        return "what has left through standard output is not whole"


Output = FileOutput | FolderOutput | StandardOutput


def digest_of_several(digests: list[str]) -> str:
    """Of one file its own; of several the SHA-256 of their digests, one a line, as sha256sum gives it."""
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(f"{one}\n" for one in digests).encode()).hexdigest()


class _Counted(io.RawIOBase):
    """Bytes that leave, hashed."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.found, self._place = stream, hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        content = bytes(content)
        self._stream.write(content)
        self.found.update(content)
        self._place += len(content)
        return len(content)

    def tell(self) -> int:
        return self._place


def exclusive(path: Path, size: int = 0) -> BinaryIO:
    """The file, cut to this size, which no other run can open meanwhile. Raises Refused, or OSError."""
    stream = path.open("ab")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        raise Refused(f"another run writes {path}") from None
    stream.truncate(size)
    return stream


def _is_held(folder: Path) -> bool:
    """Whether another run writes into the folder."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _forget(writer: Writer) -> None:
    """Keep pyarrow from writing the rest when the writer is collected."""
    inner = getattr(writer, "_writer", None)
    if inner is not None and hasattr(inner, "is_open"):
        inner.is_open = False
