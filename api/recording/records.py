"""Where the receipts of decisions go, as those who decide see it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from api.delivery.served import Model

WRITABLE, UNAVAILABLE, OFF = "writable", "unavailable", "off"  # states of the journal


class Asked(NamedTuple):
    """Who asked for a decision. `caller`: the name of the token, empty where none is asked for."""

    request_id: str
    caller: str = ""
    client_reference: str | None = None


class Heard(Protocol):
    def __call__(self, *, leaves: bool) -> None: ...


class RecordingCounts(Protocol):
    """Who counts receipts, by the path of the API."""

    def let_wait(self, receipts: int) -> None:
        """So many are not known to be on the disk now."""

    def recorded(self, path: str, receipts: int, seconds: float) -> None:
        """A group of receipts is on the disk, so long after it was made."""


class Records(Protocol):
    """Either the receipt is on the disk before the answer leaves, or a refusal leaves instead.

    `address`: where the journal's writer listens. `state`: of the journal, as far as is known.
    """

    @property
    def address(self) -> Path: ...

    @property
    def state(self) -> str: ...

    def check(self) -> None:
        """Raises JournalUnavailable where no receipt can be written now: then nothing is to be decided."""

    def refused_call(self, call: bytes) -> None:
        """Have the journal told that a refusal left in the place of the answer to a batch, in any thread.

        Its receipts may come all the same, and the event that all of them are there.
        """

    def record(
        self,
        model: Model,
        client: Mapping[str, Any],
        decision: Mapping[str, Any],
        asked: Asked,
        heard: Heard,
    ) -> str:
        """Record a decision. Return its id. Raises BadReference, CannotKeep or JournalUnavailable.

        `heard` is called once, when it is known whether the answer leaves, and never if this raises.
        """
