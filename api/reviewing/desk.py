"""Where reviewers and auditors ask: the worker's side. It reads what is asked, and has a process answer."""

import functools
from collections.abc import Mapping, Sequence

from api.deciding.answer import Answer, in_words
from api.deciding.computing_pool import ComputingProcess, Pool, ProcessEnded
from api.deciding.service import Service
from api.reviewing import parameters
from api.reviewing.questions import NewReview, OneDecision, PageOfDecisions, Question
from api.tokens import Token
from mlflow_model.errors import JournalSilent

_PROCESS = "api.reviewing.journal_process"


def journal_pool() -> Pool:
    return Pool(functools.partial(ComputingProcess, _PROCESS))


class Desk:
    """Answers for one journal, which JOURNAL_URL names. `pool`: of journal processes; None: in threads."""

    def __init__(self, service: Service, pool: Pool | None = None) -> None:
        self._service, self._pool = service, pool

    def decision(self, given: str, token: Token, asked_as: str) -> Answer:
        """One decision with all that is known of it. Raises ScoringError, as do the others."""
        decision = parameters.decision_id(given)
        return self._answered(OneDecision(b"", asked_as, parameters.sees_all(token), decision))

    def page(self, given: Mapping[str, Sequence[str]], token: Token, asked_as: str) -> Answer:
        return self._answered(PageOfDecisions(b"", asked_as, parameters.page(given, token)))

    def review(
        self,
        given: str,
        content_type: str | None,
        content_encoding: str | None,
        body: bytes,
        token: Token,
        asked_as: str,
    ) -> Answer:
        decision = parameters.decision_id(given)
        asks_for_tokens = self._service.guard.asks_for_tokens
        told = parameters.review(content_type, content_encoding, body, token, asks_for_tokens=asks_for_tokens)
        sees_all = parameters.sees_all(token)
        return self._answered(
            NewReview(told.reason.encode(), asked_as, sees_all, decision, told.outcome, told.reviewer)
        )

    def _answered(self, question: Question) -> Answer:
        return in_words(functools.partial(self._ask, question), None, question.asked_as)

    def _ask(self, question: Question) -> Answer:
        """By a process, or in this thread if none can be started. Raises ScoringError."""
        with question.places.taken():
            if self._pool is None:
                return question.answer()
            try:
                answer = self._pool.answer(None, question, self._service.tally)
            except ProcessEnded as error:
                raise JournalSilent from error
            return question.answer() if answer is None else answer
