"""The name of a request in headers and logs: the caller's own, if it is harmless, or a new one."""

import itertools
import os
import re
import secrets

HEADER = "X-Request-Id"

_HARMLESS = re.compile(r"[A-Za-z0-9._-]{1,64}")
_numbers = itertools.count(1)
_process = secrets.token_hex(4)


def _begin() -> None:
    """Start a new series of names: a forked process must not repeat its parent's."""
    global _process
    _process = secrets.token_hex(4)


os.register_at_fork(after_in_child=_begin)


def of(given: str | None) -> str:
    """The caller's name if it is short and harmless, since it goes to the log; otherwise a new one."""
    if given is not None and _HARMLESS.fullmatch(given):
        return given
    return f"{_process}-{next(_numbers):x}"
