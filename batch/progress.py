"""A bar on standard error with clients a second and the time left, where that is a terminal."""

import sys
from typing import Any

_UNTIL_SOME = "Deciding, {elapsed}"  # no client is decided on yet: a rate would be of none


class Progress:
    """`before`: clients that a former run has decided on."""

    def __init__(self, before: int) -> None:
        self._bar: Any = None
        if sys.stderr.isatty():
            try:
                from tqdm import tqdm
            except ModuleNotFoundError:  # of an installation for serving alone
                return
            self._bar = tqdm(
                initial=before, unit=" clients", unit_scale=True, leave=False, bar_format=_UNTIL_SOME
            )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, more: int, share: float | None) -> None:
        """`share`: how much of the input was read. It says about how many clients there are in all."""
        if self._bar is None:
            return
        if share:
            self._bar.total = max(self._bar.n + more, int((self._bar.n + more) / share))
        self._bar.bar_format = None
        self._bar.update(more)
