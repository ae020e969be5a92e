"""Ids of decisions and events: UUIDs of version 7 (RFC 9562), which sort by the time of their making."""

import os
import threading
import time
import uuid

LENGTH = 16

_TICKS_PER_MILLISECOND = 1 << 12
_lock = threading.Lock()
_last = 0


def new() -> bytes:
    """An id that is greater than every other that this process has made, also when the clock jumps back."""
    global _last
    with _lock:
        _last = max(time.time_ns() * _TICKS_PER_MILLISECOND // 1_000_000, _last + 1)
        milliseconds, ticks = divmod(_last, _TICKS_PER_MILLISECOND)
    chance = int.from_bytes(os.urandom(8)) >> 2
    return (milliseconds << 80 | 7 << 76 | ticks << 64 | 2 << 62 | chance).to_bytes(LENGTH)


def written(one: bytes) -> str:
    return str(uuid.UUID(bytes=one))


def read(text: str) -> bytes:
    """Raises ValueError."""
    return uuid.UUID(text).bytes
