"""Sends the answers of several connections together, so that a waiting client is woken once.

Waking another process costs as much as a decision. So answers wait as long as each turn of the event loop
brings more of them; a single answer leaves at the end of its turn. A barrier can keep them longer: until what
they tell is safe on a disk, for instance.
"""

import asyncio
import functools
from collections.abc import Callable, Sequence
from typing import Protocol

MOST = 64


class Holder(Protocol):
    """A connection with answers that have not left yet."""

    def seal(self) -> int:
        """Return how many of its answers are new since the last call."""

    def send_held(self, count: int | None = None) -> None:
        """Write its answers, or the first so many. Raises nothing."""

    def refuse_held(self, count: int) -> None:
        """Write refusals in the place of the first so many answers that tell a decision. Raises nothing."""


class Barrier(Protocol):
    """Keeps answers back for a while, those that were made before each call of `when_open`."""

    def when_open(self, go: Callable[[], None], refuse: Callable[[], None]) -> None:
        """Call one of them once, now or later, in the event loop and in the order of the calls.

        `refuse`: where what the answers tell cannot be made safe. Raises nothing.
        """


class Outbox:
    """One per event loop."""

    def __init__(self, barrier: Barrier | None = None) -> None:
        self._barrier = barrier
        self._holders: list[Holder] = []

    @property
    def has_barrier(self) -> bool:
        return self._barrier is not None

    def hold(self, holder: Holder) -> None:
        self._holders.append(holder)
        if len(self._holders) == 1:
            asyncio.get_running_loop().call_soon(self._look, 1)

    def _look(self, before: int) -> None:
        """Send what is held, unless this turn has brought more. Called once per turn."""
        if before < len(self._holders) < MOST:
            asyncio.get_running_loop().call_soon(self._look, len(self._holders))
            return
        holders, self._holders = self._holders, []
        if self._barrier is not None:
            sealed = [(holder, holder.seal()) for holder in holders]
            self._barrier.when_open(functools.partial(_send, sealed), functools.partial(_refuse, sealed))
            return
        for holder in holders:
            holder.send_held()  # which raises nothing: the others' answers must leave, too


def _send(sealed: Sequence[tuple[Holder, int]]) -> None:
    for holder, count in sealed:
        holder.send_held(count)


def _refuse(sealed: Sequence[tuple[Holder, int]]) -> None:
    for holder, count in sealed:
        holder.refuse_held(count)
