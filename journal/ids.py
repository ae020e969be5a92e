"""Ids of decisions and events: UUIDs of version 7 (RFC 9562), which sort by the time of their making."""

import os
import struct
import threading
import time
import uuid

LENGTH = 16

_TICKS_PER_MILLISECOND = 1 << 12
_HALVES, _CHANCES = struct.Struct(">QQ"), struct.Struct(">512Q")
_lock = threading.Lock()
_last = 0
_chances: list[int] = []  # 62 random bits are taken of each


def new() -> bytes:
    """An id that is greater than every other that this process has made, also when the clock jumps back."""
    global _last
    with _lock:
        _last = max(time.time_ns() * _TICKS_PER_MILLISECOND // 1_000_000, _last + 1)
        milliseconds, ticks = divmod(_last, _TICKS_PER_MILLISECOND)
        if not _chances:  # asking the system for each would take longer than all the rest
            _chances.extend(_CHANCES.unpack(os.urandom(_CHANCES.size)))
        chance = _chances.pop()
    return _HALVES.pack(milliseconds << 16 | 7 << 12 | ticks, 2 << 62 | chance >> 2)


# A child would draw the same as its parent.
os.register_at_fork(after_in_child=_chances.clear)


def written(one: bytes) -> str:
    digits = one.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def read(text: str) -> bytes:
    """Raises ValueError."""
    return uuid.UUID(text).bytes
