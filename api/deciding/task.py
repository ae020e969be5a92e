"""What the event loop does not compute: batches, explanations, questions to the journal, enquiries."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from api.deciding.answer import Answer
from api.deciding.listener import Listener
from api.deciding.places import Places
from api.delivery.served import Model
from mlflow_model.errors import TryLater


@dataclass(frozen=True)
class Task(ABC):
    """A request to compute, in a process beside the worker or in a thread of it. `asked_as` is its id.

    `called`: how the log and the messages between processes name its kind. `seconds`: how long it may take,
    and `too_slow` what it is told then, which is made of the seconds.
    """

    called: ClassVar[str]
    seconds: ClassVar[float]
    too_slow: ClassVar[type[TryLater]]
    places: ClassVar[Places]

    body: bytes
    asked_as: str

    @property
    @abstractmethod
    def is_small(self) -> bool:
        """Whether a thread of the worker computes it as well as a process."""

    def facts(self) -> dict[str, Any]:
        """All of it but the body, as JSON can say it."""
        facts = asdict(self)
        del facts["body"]
        return facts


class ModelTask(Task):
    """A task for a model: computing processes (api/deciding/computing_process.py) load it first."""

    @abstractmethod
    def answer(self, model: Model, listeners: Sequence[Listener]) -> Answer:
        """The whole answer without the transport. Listeners are told of decisions.

        Raises ScoringError, or whatever the bundle's code raises.
        """
