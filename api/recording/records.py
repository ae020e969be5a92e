"""Where the receipts of decisions go, as those who decide see it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from api.delivery.served import Model


class Asked(NamedTuple):
    """Who asked for a decision. `caller`: the name of the token, empty where none is asked for."""

    request_id: str
    caller: str = ""
    client_reference: str | None = None


class Heard(Protocol):
    def __call__(self, *, leaves: bool) -> None: ...


class Records(Protocol):
    """Either the receipt is on the disk before the answer leaves, or a refusal leaves instead.

    `address`: where the journal's writer listens.
    """

    address: Path

    def check(self) -> None:
        """Raises JournalUnavailable where no receipt can be written now: then nothing is to be decided."""

    def record(
        self,
        model: Model,
        client: Mapping[str, Any],
        decision: Mapping[str, Any],
        asked: Asked,
        heard: Heard,
    ) -> str:
        """Record a decision. Return its id. Raises BadReference or CannotKeep.

        `heard` is called once, when it is known whether the answer leaves.
        """
