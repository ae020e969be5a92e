"""Asks the scoring API. Any failure becomes one French sentence."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any
from urllib.parse import urlencode

from pydantic import BaseModel

from dashboard import answers
from dashboard.exchange import Answer, NoAnswer, NobodyThere, Question, TooSlow, exchange
from dashboard.forms.decisions import Decision, PastDecisions, Receipt, Review
from dashboard.forms.explanation import Explanation
from dashboard.forms.model import Model, ModelHistory
from dashboard.forms.reference import Neighbours, Reference, ReferenceClients
from dashboard.forms.service import Ready, Specification

_SECONDS = 15.0  # an explanation: the API gives up after 12
_SLOW_SECONDS = 80.0  # batches, versions brought to explain, the reference: the API gives up after 75
_MOST_BYTES = 32 * 1024 * 1024  # of an answer: twice what the API gives
_DIGEST = "x-model-digest"
_NOT_IMPLEMENTED = 501
_USER = re.compile(r"//[^/@]*@")  # a name and password in an address, which no page shows
_SENDABLE = re.compile(r"[ -~]{1,4096}")  # printable ASCII, as HTTP's headers carry it
_OTHER_VERSION = (
    "Une autre version du modèle est servie depuis cette décision\u00a0: demandez la décision de nouveau."
)
_OTHER_LABEL = "L’API a rendu une décision qu’elle ne connaît pas elle-même."
_UNSENDABLE = (
    "Le jeton d’accès saisi contient un signe qu’aucun jeton n’a, tel que «\u00a0’\u00a0» ou un accent."
)
_NO_REFERENCE = (
    "«\u00a0Référence du client\u00a0»\u00a0: écrivez-la en 64 caractères au plus, sans accent ni "
    "signe tel que «\u00a0’\u00a0» ou «\u00a0€\u00a0». Rien n’a été demandé à l’API."
)


class Failure(Enum):
    """What has failed, and so what the officer does next."""

    ABSENT = auto()
    SLOW = auto()
    UNAVAILABLE = auto()
    UNAUTHORIZED = auto()
    FORBIDDEN = auto()
    OTHER_SERVICE = auto()
    OTHER_VERSION = auto()
    REFUSED = auto()


_FAILURES = {401: Failure.UNAUTHORIZED, 403: Failure.FORBIDDEN, 503: Failure.UNAVAILABLE}


class ApiError(Exception):
    """The API's own sentence about a refusal, or ours if the API sent none.

    `status`: 0 without an answer. `may_have_acted`: whether the API may have done what it was asked for.
    """

    def __init__(
        self,
        sentence: str,
        failure: Failure = Failure.REFUSED,
        status: int = 0,
        *,
        may_have_acted: bool = False,
    ) -> None:
        super().__init__(sentence)
        self.failure, self.status, self.may_have_acted = failure, status, may_have_acted

    @property
    def may_pass(self) -> bool:
        """Whether the same question may be answered later."""
        if self.failure is Failure.REFUSED:
            return self.status >= 500 and self.status != _NOT_IMPLEMENTED
        return self.failure is not Failure.OTHER_VERSION


@dataclass(frozen=True)
class Decided:
    """`receipt`: its number, where the service keeps a journal. `digest`: of the version that decided."""

    decision: dict[str, Any]
    receipt: str | None
    digest: str | None


@dataclass(frozen=True)
class DecidedOnMany:
    """`body`: as it came, in the format of what was sent. `digest`: of the version that decided."""

    body: bytes
    digest: str | None


class ScoringApi:
    """`digest`: of the only version whose answers are wanted; None for whichever answers."""

    def __init__(self, url: str, token: str | None = None, digest: str | None = None) -> None:
        self._url, self._token, self._digest = url.rstrip("/"), token, digest
        self._shown = _USER.sub("//", self._url)

    def specification(self) -> dict[str, Any]:
        """The OpenAPI document of the served model."""
        return self._ask(Specification, "GET", "/openapi.json")

    def ready(self) -> dict[str, Any]:
        """Name, version, alias and policy of the served model."""
        return self._ask(Ready, "GET", "/ready")

    def model(self) -> dict[str, Any]:
        """Policy, features and origin of the served version."""
        return self._ask(Model, "GET", "/model", is_slow=True)

    def model_history(self) -> dict[str, Any]:
        """What the registry says of the served version: its card, the champions, its last examination."""
        return self._ask(ModelHistory, "GET", "/model/history", is_slow=True)

    def reference(self) -> dict[str, Any]:
        """What the served version does to the reference clients, in totals."""
        return self._ask(Reference, "GET", "/reference", is_slow=True)

    def reference_clients(self, after: int, limit: int) -> dict[str, Any]:
        """A page of clients who do not exist, and the `next` of it."""
        query = [("after", str(after)), ("limit", str(limit))]
        path = "/reference/clients"
        return self._ask(ReferenceClients, "GET", path, is_slow=True, query=query)

    def neighbours(self, client: Mapping[str, float | None]) -> dict[str, Any]:
        """The reference clients nearest to this one, and its place in the population."""
        return self._ask(Neighbours, "POST", "/neighbours", client, is_slow=True)

    def decide(self, client: Mapping[str, float | None], reference: str) -> Decided:
        """`reference`: the bank's own name of the client for the receipt; may be empty."""
        named = reference.strip()
        if named and not (_SENDABLE.fullmatch(named) and len(named) <= 64):
            raise ApiError(_NO_REFERENCE)
        headers = {"X-Client-Reference": named} if named else {}
        answer = self._send("POST", "/predict", _as_json(client), headers=headers)
        told = answer.headers
        decision = self._read(answer, Decision)
        return Decided(decision, told.get("x-decision-id"), told.get(_DIGEST))

    def explain(self, client: Mapping[str, float | None]) -> dict[str, Any]:
        return self._ask(Explanation, "POST", "/explain", client)

    def predict_many(
        self, body: bytes, media_type: str, keep: Sequence[str], *, with_ids: bool
    ) -> DecidedOnMany:
        query = [("keep", name) for name in keep] + [("ids", "1")] * with_ids
        answer = self._send("POST", "/predict/batch", body, media_type=media_type, is_slow=True, query=query)
        return DecidedOnMany(answer.body, answer.headers.get(_DIGEST))

    def past_decisions(self, **query: str) -> dict[str, Any]:
        """A page of them, and the `next` of it."""
        return self._ask(PastDecisions, "GET", "/decisions", query=[*query.items()])

    def past_decision(self, decision: str) -> dict[str, Any]:
        return self._ask(Receipt, "GET", f"/decisions/{decision}")

    def past_explanation(self, decision: str) -> dict[str, Any]:
        path = f"/decisions/{decision}/explanation"
        return self._ask(Explanation, "GET", path, is_slow=True)

    def review(self, decision: str, review: Mapping[str, str]) -> dict[str, Any]:
        return self._ask(Review, "POST", f"/decisions/{decision}/review", review)

    def _ask(
        self,
        form: type[BaseModel],
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        sent = None if body is None else _as_json(body)
        return self._read(self._send(method, path, sent, **more), form)

    def _read(self, answer: Answer, form: type[BaseModel]) -> dict[str, Any]:
        try:
            return answers.read(answer.body, form)
        except answers.OtherForm as error:
            raise self._other_service(answer.status) from error

    def _send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        media_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        is_slow: bool = False,
        query: Sequence[tuple[str, str]] = (),
    ) -> Answer:
        sent = {**self._authorization(), **(headers or {})}
        if body is not None:
            sent["Content-Type"] = media_type
        asked = Question(method, f"{path}?{urlencode(query)}" if query else path, sent, body)
        try:
            answer = exchange(self._url, asked, _SLOW_SECONDS if is_slow else _SECONDS, _MOST_BYTES)
        except NoAnswer as error:
            raise self._unanswered(error) from error
        if not 200 <= answer.status < 300:
            raise self._refused(answer)
        if self._digest and answer.headers.get(_DIGEST) != self._digest:
            raise ApiError(_OTHER_VERSION, Failure.OTHER_VERSION, answer.status)
        return answer

    def _authorization(self) -> dict[str, str]:
        if not self._token:
            return {}
        if not _SENDABLE.fullmatch(self._token):
            raise ApiError(_UNSENDABLE, Failure.UNAUTHORIZED)
        return {"Authorization": f"Bearer {self._token}"}

    def _unanswered(self, error: NoAnswer) -> ApiError:
        if isinstance(error, TooSlow):
            sentence, failure = f"L’API ({self._shown}) n’a pas répondu à temps.", Failure.SLOW
        elif isinstance(error, NobodyThere):
            sentence = f"L’API est injoignable à l’adresse {self._shown}. Est-elle démarrée\u00a0?"
            failure = Failure.ABSENT
        else:
            return self._other_service(0)
        return ApiError(sentence, failure, may_have_acted=error.may_have_arrived)

    def _refused(self, answer: Answer) -> ApiError:
        sentence, status = answers.sentence_of(answer.body), answer.status
        if sentence is None and status < 400:
            return self._other_service(status)
        told = sentence or f"L’API ({self._shown}) a refusé la demande (statut {status})."
        failure = _FAILURES.get(status, Failure.REFUSED)
        return ApiError(told, failure, status, may_have_acted=status >= 500)

    def _other_service(self, status: int) -> ApiError:
        sentence = f"Ce qui répond à l’adresse {self._shown} ne répond pas comme l’API."
        return ApiError(sentence, Failure.OTHER_SERVICE, status, may_have_acted=True)


def zone(prediction: str, schemas: Mapping[str, Any]) -> int:
    """The place of a label among those that the service describes. Raises ApiError if it is not there."""
    names: list[str] = schemas["Decision"]["properties"]["prediction"]["enum"]
    if prediction not in names:
        raise ApiError(_OTHER_LABEL, Failure.OTHER_SERVICE)
    return names.index(prediction)


def _as_json(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, allow_nan=False).encode()
