"""Bytes that pass once, hashed on their way: those of standard input, and of standard output."""

import hashlib
import io
from typing import Any


class Hashed(io.RawIOBase):
    """`raw`: where they come from or go to, unbuffered."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw, self._hash, self._passed = raw, hashlib.sha256(), 0

    @property
    def digest(self) -> str:
        """SHA-256 of all that has passed."""
        return self._hash.hexdigest()

    def readable(self) -> bool:
        return self._raw.readable()

    def writable(self) -> bool:
        return self._raw.writable()

    def readinto(self, buffer: Any) -> int | None:
        return self._seen(buffer, self._raw.readinto(buffer))

    def write(self, content: Any) -> int | None:
        return self._seen(content, self._raw.write(content))

    def tell(self) -> int:
        return self._passed

    def _seen(self, content: Any, count: int | None) -> int | None:
        self._hash.update(memoryview(content)[: count or 0])
        self._passed += count or 0
        return count
