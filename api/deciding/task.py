"""What the event loop does not compute: a batch, or an explanation."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from api.deciding.answer import Answer
from api.deciding.listener import Listener
from api.deciding.places import Places
from api.delivery.served import Model
from mlflow_model.errors import BatchTooSlow, ExplanationTooSlow


@dataclass(frozen=True)
class Task(ABC):
    """A request to compute, in a computing process or in a thread of the worker. `asked_as` is its id.

    `called`: how the log and the messages between processes name its kind. `seconds`: how long it may take,
    and `too_slow` what it is told then.
    """

    called: ClassVar[str]
    seconds: ClassVar[float]
    too_slow: ClassVar[type[BatchTooSlow | ExplanationTooSlow]]
    places: ClassVar[Places]

    content_type: str | None
    content_encoding: str | None
    body: bytes
    asked_as: str

    @property
    @abstractmethod
    def is_small(self) -> bool:
        """Whether a thread of the worker computes it as well as a process."""

    @abstractmethod
    def answer(self, model: Model, listeners: Sequence[Listener]) -> Answer:
        """The whole answer without the transport. Listeners are told of decisions.

        Raises ScoringError, or whatever the bundle's code raises.
        """

    def facts(self) -> dict[str, Any]:
        """All of it but the body, as JSON can say it."""
        facts = asdict(self)
        del facts["body"]
        return facts
