"""Who is told of the decisions that a process makes, for one client and for many."""

from collections.abc import Mapping
from typing import Any, Protocol

from api.delivery.served import Model


class Listener(Protocol):
    """Counts or compares. It neither refuses nor waits: the request's own thread calls it. An error that it
    raises is logged, and changes no answer.

    Each process that decides has its own listeners. A computing process has a tally alone, whose counts
    the worker adds to its own; a listener that cares for batches has its place there, too.
    """

    def decided(
        self, model: Model, client: Mapping[str, Any], decision: Mapping[str, Any], seconds: float
    ) -> None:
        """The answer is made, and recorded where there is a journal. `seconds`: since the whole request."""

    def decided_many(self, model: Model, clients: Mapping[str, Any], decisions: Mapping[str, Any]) -> None:
        """The same of a batch: clients and decisions as columns, one row per client."""

    def recorded(self, path: str, receipts: int, seconds: float) -> None:
        """A group of receipts is on the disk, so long after it was made."""

    def left_unanswered(self, path: str, decisions: int) -> None:
        """So many decisions were made whose answer does not leave: they could not be recorded."""
