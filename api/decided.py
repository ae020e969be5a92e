"""What a service tells its listeners of a decision, for one client and for many.

Each process that decides has its own listeners. A batch process has a tally alone, whose counts the worker
adds to its own.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from mlflow_model.bundle.scoring import Scorer


class Decided(NamedTuple):
    """One client and its decision, whose answer is written and has not left yet.

    `version` is how metrics call the model, `asked_as` the request's id, `seconds` how long it took.
    """

    version: str
    scorer: Scorer
    asked_as: str
    client: Mapping[str, Any]
    decision: Mapping[str, Any]
    seconds: float


class DecidedMany(NamedTuple):
    """The same of a batch: clients and decisions as columns, one row per client."""

    version: str
    scorer: Scorer
    asked_as: str
    clients: Mapping[str, Any]
    decisions: Mapping[str, Any]


class Listener(Protocol):
    """Counts, compares or writes down. It neither refuses nor waits: the request's own thread calls it."""

    def decided(self, event: Decided) -> None: ...

    def decided_many(self, event: DecidedMany) -> None: ...
