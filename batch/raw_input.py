"""The bytes of an input: a file that must not change while it is read, or standard input."""

import hashlib
import io
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

from batch.errors import Refused

STANDARD = "-"
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"PK\x03\x04": "zip",
    b"\xfd7zXZ": "xz",
}


class RawInput:
    """`path`: None for standard input. Raises Refused where it cannot be opened."""

    def __init__(self, path: Path | None) -> None:
        self.name = "standard input" if path is None else str(path)
        self._path = path
        self._hashed: _Hashed | None = None
        self._digest: str | None = None
        if path is None:
            self._file: BinaryIO = io.BufferedReader(self._hashing(sys.stdin.buffer), 1024 * 1024)
            return
        try:
            if not path.is_file():
                raise Refused(f"{path} is no file" if path.exists() else f"{path} is not there")
            self._file = path.open("rb")
        except OSError as error:
            raise Refused(f"{path} cannot be read: {error.strerror}") from error
        self._before = self._stamp()

    def _hashing(self, raw: BinaryIO) -> "_Hashed":
        self._hashed = _Hashed(raw)
        return self._hashed

    def beginning(self) -> bytes:
        """The first bytes, which are read again later. Raises Refused for a packed file."""
        if self._path is None:
            found = self._file.peek(16)[:16]  # type: ignore[attr-defined]
        else:
            found = self._file.read(16)
            self._file.seek(0)
        for sign, packer in _PACKED.items():
            if found.startswith(sign):
                raise Refused(f"{self.name} is packed by {packer}: unpack it first")
        return bytes(found)

    def seekable(self) -> Any:
        """A file that can be read anywhere. Raises Refused for standard input."""
        if self._path is None:
            raise Refused(
                "standard input can be CSV or an Arrow stream alone: other formats end with an index"
            )
        return self._file

    def stream(self) -> BinaryIO:
        return self._file

    def share(self) -> float | None:
        """How much was read, from 0 to 1."""
        if self._path is None or self._file.closed:
            return None
        return self._file.tell() / max(1, self._before[0])

    def close(self) -> None:
        if self._path is not None:
            self._file.close()

    def digest(self) -> str:
        """SHA-256 of all bytes; of standard input, once it has been read."""
        if self._hashed is not None:
            return self._hashed.found.hexdigest()
        if self._digest is None:
            assert self._path is not None  # noqa: S101 - otherwise it is hashed while it is read
            with self._path.open("rb") as again:
                self._digest = hashlib.file_digest(again, "sha256").hexdigest()
        return self._digest

    def check_unchanged(self) -> None:
        """Raises Refused if another process has written to the file since it was opened."""
        if self._path is not None and self._stamp() != self._before:
            raise Refused(f"{self.name} was changed while it was read")

    def blame_machine(self, error: BaseException) -> None:
        """Raises Refused if it is the system that cannot read, and not the content that is wrong."""
        if isinstance(error, OSError) and error.errno is not None:
            raise Refused(f"{self.name} cannot be read: {os.strerror(error.errno)}") from error

    def _stamp(self) -> tuple[int, int, int]:
        found = os.stat(self._path or 0)  # noqa: PTH116 - of the name, not of the open file
        return found.st_size, found.st_mtime_ns, found.st_ino


class _Hashed(io.RawIOBase):
    """Bytes that can be read once."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw, self.found = raw, hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._raw.read1(len(buffer))  # type: ignore[attr-defined]
        buffer[: len(content)] = content
        self.found.update(content)
        return len(content)
