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


@dataclass
class Queue:
    """`done`: how many cases this session has reviewed. `told`: what happened to the last one."""

    done: int = 0
    told: str = ""
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
        decision, named = self._case.receipt["id"], {} if reviewer is None else {"reviewer": reviewer}
        try:
            if not self._is_overtaken(api, decision):
                api.review(decision, {"outcome": outcome, "reason": reason, **named})
                self.done += 1
                self.skip(f"Crédit {_OUTCOMES[outcome]} : la revue est inscrite au journal.")
        except ApiError as error:
            is_contrary = error.status == 403 and self._is_overtaken(api, decision)
            if error.status in _ABOUT_THE_CASE:
                self.skip(str(error))
            elif not is_contrary:
                raise

    def _is_overtaken(self, api: ScoringApi, decision: str) -> bool:
        """Whether somebody has reviewed or erased it meanwhile; then the next one is at hand.

        Raises ApiError.
        """
        receipt = api.past_decision(decision)
        if receipt["outcome"] is None and not receipt["is_erased"]:
            return False
        self.skip(_reviewed_by_somebody_else(receipt))
        return True

    def skip(self, told: str) -> None:
        """Go on with the next case."""
        self.told, self._case = told, None
        self._waiting.pop(0)

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
