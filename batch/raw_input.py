"""The bytes of an input: a file that must not change while it is read, or standard input."""

import abc
import hashlib
import io
import os
import sys
from pathlib import Path

from batch.errors import Refused
from batch.hashed import Hashed

STANDARD = "-"
_BUFFER = 1024 * 1024
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"PK\x03\x04": "zip",
    b"\xfd7zXZ": "xz",
}


class RawInput(abc.ABC):
    """`name`: as a sentence names it. `stream`: its bytes, from the beginning."""

    name: str
    stream: io.BufferedReader

    def beginning(self) -> bytes:
        """The first bytes, which are read again later. Raises Refused for a packed file."""
        with self.readable():
            found = self.stream.peek(16)[:16]
        for sign, packer in _PACKED.items():
            if found.startswith(sign):
                raise Refused(f"{self.name} is packed by {packer}: unpack it first")
        return found

    def readable(self) -> "_Readable":
        """Says what the system cannot read. Raises Refused."""
        return _Readable(self.name)

    @abc.abstractmethod
    def seekable(self) -> io.BufferedReader:
        """The stream, if it can be read anywhere. Raises Refused for standard input."""

    @abc.abstractmethod
    def share(self) -> float | None:
        """How much was read, from 0 to 1; None where nobody knows."""

    @abc.abstractmethod
    def digest(self) -> str:
        """SHA-256 of all bytes; of standard input, once it has been read. Raises Refused."""

    @abc.abstractmethod
    def check_unchanged(self) -> None:
        """Raises Refused if another process has written to it since it was opened."""

    @abc.abstractmethod
    def close(self) -> None: ...


class _Readable:
    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, OSError) and error.errno is not None:
            raise Refused(f"{self._name} cannot be read: {os.strerror(error.errno)}") from error


class FileInput(RawInput):
    """Raises Refused where it cannot be opened, or is no file."""

    def __init__(self, path: Path) -> None:
        self.name, self._path = str(path), path
        self._digest: str | None = None
        with self.readable():
            if not path.is_file():
                raise Refused(f"{path} is no file" if path.exists() else f"{path} is not there")
            self.stream = path.open("rb")
            self._before = self._stamp()

    def seekable(self) -> io.BufferedReader:
        return self.stream

    def share(self) -> float | None:
        size, *_ = self._before
        return None if self.stream.closed else self.stream.tell() / max(1, size)

    def digest(self) -> str:
        if self._digest is None:
            with self.readable(), self._path.open("rb") as again:
                self._digest = hashlib.file_digest(again, "sha256").hexdigest()
            self.check_unchanged()
        return self._digest

    def check_unchanged(self) -> None:
        try:
            is_the_same = self._stamp() == self._before
        except FileNotFoundError:
            is_the_same = False
        if not is_the_same:
            raise Refused(f"{self.name} was changed while it was read")

    def close(self) -> None:
        self.stream.close()

    def _stamp(self) -> tuple[int, ...]:
        """Of what has the name now. Nobody can set back when a file was last changed."""
        found = self._path.stat()
        return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


class StandardInput(RawInput):
    """It can be read once."""

    name = "standard input"

    def __init__(self) -> None:
        if sys.stdin is None:
            raise Refused("standard input is closed")
        self._hashed = Hashed(io.FileIO(0, closefd=False))
        self.stream = io.BufferedReader(self._hashed, _BUFFER)

    def seekable(self) -> io.BufferedReader:
        raise Refused("standard input can be CSV or an Arrow stream alone: other formats end with an index")

    def share(self) -> float | None:
        return None

    def digest(self) -> str:
        return self._hashed.digest

    def check_unchanged(self) -> None: ...

    def close(self) -> None: ...


def opened(path: Path | None) -> RawInput:
    """`path`: None for standard input. Raises Refused."""
    return StandardInput() if path is None else FileInput(path)
