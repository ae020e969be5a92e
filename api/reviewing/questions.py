"""What can be asked of the journal, as tasks: a process that knows the database answers them.

`sees_all`: whether the asker may see all decisions, and not those in the grey zone alone.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.deciding.answer import Answer
from api.deciding.places import Places, Room
from api.deciding.task import Task
from api.reviewing.errors import JournalTooSlow, TooManyQuestions
from api.reviewing.parameters import Page

ROOM = Room(at_once=2, waiting=8, wait_seconds=2.0)


class Question(Task):
    """A task for the journal (api/reviewing/journal_process.py)."""

    seconds = 10.0
    too_slow = JournalTooSlow
    places = Places(ROOM, TooManyQuestions)
    is_small = False

    @classmethod
    def of_facts(cls, body: bytes, facts: Mapping[str, Any]) -> "Question":
        return cls(body=body, **facts)

    @abstractmethod
    def answer(self) -> Answer:
        """The whole answer without the transport. Raises ScoringError."""


@dataclass(frozen=True)
class OneDecision(Question):
    called = "a question about a decision"

    sees_all: bool
    decision: str

    def answer(self) -> Answer:
        from api.reviewing import answers  # imports SQLAlchemy, which workers are spared

        return answers.one(self.decision, sees_all=self.sees_all)


@dataclass(frozen=True)
class PageOfDecisions(Question):
    called = "a question about decisions"

    page: Page

    @classmethod
    def of_facts(cls, body: bytes, facts: Mapping[str, Any]) -> "PageOfDecisions":
        return cls(body, facts["asked_as"], Page(**facts["page"]))

    def answer(self) -> Answer:
        from api.reviewing import answers

        return answers.page(self.page)


@dataclass(frozen=True)
class NewReview(Question):
    """`body`: the reason, which may speak of the client."""

    called = "a review"

    sees_all: bool
    decision: str
    outcome: str
    reviewer: str

    def answer(self) -> Answer:
        from api.reviewing import answers

        return answers.review(
            self.decision, self.outcome, self.body.decode(), self.reviewer, sees_all=self.sees_all
        )
