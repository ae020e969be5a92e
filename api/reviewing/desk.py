"""Where reviewers and auditors ask: the worker's side. It reads what is asked, and has a process answer."""

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from api.deciding.answer import Answer, in_words
from api.deciding.computing_pool import ComputingProcess, Pool, ProcessEnded
from api.deciding.explained_receipt import PastExplanation
from api.deciding.service import Service
from api.delivery.served import Model
from api.reviewing import parameters
from api.reviewing.errors import DecisionErased, JournalSilent
from api.reviewing.past_versions import PastVersions, Version
from api.reviewing.questions import NewReview, OneDecision, PageOfDecisions, Question
from api.tokens import Token
from mlflow_model.errors import LoadingFailed, ModelUnavailable

_PROCESS = "api.reviewing.journal_process"


def journal_pool() -> Pool:
    return Pool(functools.partial(ComputingProcess, _PROCESS))


class Desk:
    """Answers for one journal, which JOURNAL_URL names.

    `cache`: the folder of verified copies. `pool`: of journal processes; without it, threads answer.
    """

    def __init__(self, service: Service, cache: Path, pool: Pool | None = None) -> None:
        self._service, self._pool = service, pool
        self._versions = PastVersions(cache)

    def decision(self, given: str, token: Token, asked_as: str) -> Answer:
        """One decision with all that is known of it. Raises ScoringError, as do the others."""
        decision = parameters.decision_id(given)
        return self._answered(OneDecision(b"", asked_as, parameters.sees_all(token), decision))

    def explanation(self, given: str, token: Token, asked_as: str) -> Answer:
        """By the version that decided, whether it is served or not."""
        asked = self.decision(given, token, asked_as)
        if asked.status != 200:
            return asked
        receipt = json.loads(asked.content)
        if receipt["is_erased"]:
            raise DecisionErased
        wanted = Version(*(receipt["model"][key] for key in Version._fields))
        body = json.dumps({key: receipt[key] for key in ("inputs", "decision")}).encode()
        task = PastExplanation(body, asked_as)
        return in_words(functools.partial(self._explained, wanted, task), None, asked_as)

    def _explained(self, wanted: Version, task: PastExplanation) -> Answer:
        """Raises ScoringError."""
        served = self._served(wanted.digest)
        if served is not None:
            return self._service.computed(served, task)
        try:
            answer = self._service.computed_by(self._versions.copy_of(wanted), task)
        except LoadingFailed:  # the copy was changed since it was brought
            self._versions.forget(wanted)
            answer = self._service.computed_by(self._versions.copy_of(wanted), task)
        headers = (("X-Model-Version", str(wanted.version)), ("X-Model-Digest", wanted.digest))
        return answer._replace(model=None, own_headers=(*answer.own_headers, *headers))

    def _served(self, digest: str) -> Model | None:
        try:
            model = self._service.served.model
        except ModelUnavailable:
            return None
        return model if model.digest == digest else None

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
