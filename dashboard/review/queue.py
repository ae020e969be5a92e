"""The decisions that wait for a person, oldest first, and what is known of the one at hand."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dashboard.api_client import ApiError, ScoringApi

_PAGE = "100"  # decisions
_ABOUT_THE_CASE = (404, 410)  # it is not in the journal, or erased: the next one may be reviewed
_OUTCOMES = {"accept": "accordé", "refuse": "refusé"}


@dataclass(frozen=True)
class Case:
    """`receipt`: all that the journal knows. `explanation`: None without one; `silence` says why."""

    receipt: Mapping[str, Any]
    explanation: Mapping[str, Any] | None
    silence: str = ""


@dataclass(frozen=True)
class _Review:
    """What this session sends. `reviewer`: None where the token says it."""

    outcome: str
    reason: str
    reviewer: str | None

    def is_in(self, receipt: Mapping[str, Any]) -> bool:
        return any(
            (one["outcome"], one["reason"]) == (self.outcome, self.reason)
            and self.reviewer in (None, one["reviewer"])
            for one in receipt["reviews"]
        )


@dataclass
class Queue:
    """`done`: how many cases this session has reviewed. `told`: what happened to the last one."""

    done: int = 0
    told: str = ""
    _unanswered: list[_Review] = field(default_factory=list)  # of the case at hand
    _waiting: list[str] = field(default_factory=list)
    _has_more: bool = True
    _last: str | None = None
    _case: Case | None = None

    def case(self, api: ScoringApi) -> Case | None:
        """The oldest one that waits; None without any. Raises ApiError."""
        while self._case is None:
            if not self._waiting and not self._filled(api):
                return None
            try:
                receipt = api.past_decision(self._waiting[0])
            except ApiError as error:
                if error.status not in _ABOUT_THE_CASE:
                    raise
                self.skip(str(error))
                continue
            if receipt["outcome"] is not None or receipt["is_erased"]:
                self.skip(_reviewed_by_somebody_else(receipt))
                continue
            self._case = _explained(api, receipt)
        return self._case

    def review(self, api: ScoringApi, outcome: str, reason: str, reviewer: str | None) -> None:
        """Review the case at hand, unless somebody has meanwhile. Raises ApiError; it is at hand then."""
        if self._case is None:
            return
        decision = self._case.receipt["id"]
        review = _Review(outcome, " ".join(reason.split()), reviewer)
        try:
            if self._is_settled(api, decision, review):
                return
            self._unanswered.append(review)
            named = {} if reviewer is None else {"reviewer": reviewer}
            api.review(decision, {"outcome": outcome, "reason": reason, **named})
            self._is_written(review)
        except ApiError as error:
            self._not_answered(api, error, decision, review)

    @property
    def may_be_written(self) -> bool:
        """Whether a review of the case at hand has been sent, and nobody knows what became of it."""
        return bool(self._unanswered)

    def _not_answered(self, api: ScoringApi, error: ApiError, decision: str, review: _Review) -> None:
        """The journal says what became of a review without an answer. Raises ApiError if it does not."""
        if error.status in _ABOUT_THE_CASE:
            self.skip(str(error))
            return
        if not error.may_have_acted and review in self._unanswered:
            self._unanswered.remove(review)
        is_contrary = error.status == 403
        if (is_contrary or self._unanswered) and self._is_settled_as_far_as_known(api, decision, review):
            return
        raise error

    def _is_settled_as_far_as_known(self, api: ScoringApi, decision: str, review: _Review) -> bool:
        try:
            return self._is_settled(api, decision, review)
        except ApiError:
            return False

    def _is_settled(self, api: ScoringApi, decision: str, review: _Review) -> bool:
        """Whether it is reviewed or erased, by whomever; then the next one is at hand. What this session has
        written is not settled if it is to be corrected. Raises ApiError.
        """
        receipt = api.past_decision(decision)
        if receipt["outcome"] is None and not receipt["is_erased"]:
            return False
        ours = [one for one in self._unanswered if one.is_in(receipt)]
        if not ours:
            self.skip(_reviewed_by_somebody_else(receipt))
            return True
        if receipt["outcome"] == review.outcome:
            self._is_written(review)
            return True
        return False

    def _is_written(self, review: _Review) -> None:
        self.done += 1
        self.skip(f"Crédit {_OUTCOMES[review.outcome]}\u00a0: la revue est inscrite au journal.")

    def skip(self, told: str) -> None:
        """Go on with the next case."""
        self.told, self._case, self._unanswered = told, None, []
        self._waiting.pop(0)

    @property
    def has_case(self) -> bool:
        """Whether a case is at hand."""
        return self._case is not None

    @property
    def waiting(self) -> str:
        """How many wait, the case at hand included, as far as it has been counted."""
        return f"{len(self._waiting)}{' ou plus' if self._has_more else ''}"

    def _filled(self, api: ScoringApi) -> bool:
        """Get the next page. Whether there is any case on it."""
        if not self._has_more:
            return False
        after = {} if self._last is None else {"after": self._last}
        page = api.past_decisions(label="grey", open="true", order="oldest", limit=_PAGE, **after)
        self._waiting = [one["id"] for one in page["decisions"]]
        self._last, self._has_more = page["next"], page["next"] is not None
        return bool(self._waiting)


def _explained(api: ScoringApi, receipt: Mapping[str, Any]) -> Case:
    """Without its reasons a case can still be reviewed. Raises ApiError where the service itself fails."""
    try:
        return Case(receipt, api.past_explanation(receipt["id"]))
    except ApiError as error:
        if error.status in (0, 401, 403):
            raise
        return Case(receipt, None, str(error))


def _reviewed_by_somebody_else(receipt: Mapping[str, Any]) -> str:
    if receipt["is_erased"]:
        return "Les données du dossier précédent ont été effacées entre-temps : voici le suivant."
    outcome = _OUTCOMES[receipt["outcome"]]
    return f"Dossier revu entre-temps par {receipt['reviewer']} (crédit {outcome}) : voici le suivant."
