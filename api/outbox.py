"""Lets the answers of several connections leave together, so that a client that waits is woken once.

Waking another process costs as much as a decision. An answer therefore waits as long as more requests come in
with each turn of the event loop; one that is alone leaves at the end of its turn.
"""

import asyncio
from typing import Protocol

MOST = 64


class Holder(Protocol):
    """A connection with answers that have not left yet."""

    def send_held(self) -> None:
        """Raises nothing."""


class Outbox:
    """One for each event loop."""

    def __init__(self) -> None:
        self._holders: list[Holder] = []

    def hold(self, holder: Holder) -> None:
        self._holders.append(holder)
        if len(self._holders) == 1:
            asyncio.get_running_loop().call_soon(self._look, 1)

    def _look(self, before: int) -> None:
        """Called once a turn."""
        if before < len(self._holders) < MOST:
            asyncio.get_running_loop().call_soon(self._look, len(self._holders))
            return
        holders, self._holders = self._holders, []
        for holder in holders:
            holder.send_held()  # which raises nothing: the others' answers must leave, too
