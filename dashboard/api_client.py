"""Calls the scoring API over HTTP. Any failure becomes one French sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import requests

_SECONDS = 10.0
_SLOW_SECONDS = 80.0  # batches, versions brought to explain, the reference: the API gives up after 75
_DIGEST = "X-Model-Digest"
_OTHER_VERSION = (
    "Une autre version du modèle est servie depuis cette décision\u00a0: demandez la décision de nouveau."
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
    """The API's own sentence about a refusal, or ours if the API sent none. `status`: 0 without an answer."""

    def __init__(self, sentence: str, failure: Failure = Failure.REFUSED, status: int = 0) -> None:
        super().__init__(sentence)
        self.failure, self.status = failure, status


@dataclass(frozen=True)
class Decided:
    """`receipt`: its number, where the service keeps a journal. `digest`: of the version that decided."""

    decision: dict[str, Any]
    receipt: str | None
    digest: str | None


class ScoringApi:
    """`digest`: of the only version whose answers are wanted; None for whichever answers."""

    def __init__(self, url: str, token: str | None = None, digest: str | None = None) -> None:
        self._url, self._digest = url.rstrip("/"), digest
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def specification(self) -> dict[str, Any]:
        """The OpenAPI document of the served model."""
        return self._ask("GET", "/openapi.json")

    def ready(self) -> dict[str, Any]:
        """Name, version, alias and policy of the served model."""
        return self._ask("GET", "/ready")

    def model(self) -> dict[str, Any]:
        """Policy, features and origin of the served version."""
        return self._ask("GET", "/model", seconds=_SLOW_SECONDS)

    def model_history(self) -> dict[str, Any]:
        """What the registry says of the served version: its card, the champions, its last examination."""
        return self._ask("GET", "/model/history", seconds=_SLOW_SECONDS)

    def reference(self) -> dict[str, Any]:
        """What the served version does to the reference clients, in totals."""
        return self._ask("GET", "/reference", seconds=_SLOW_SECONDS)

    def reference_clients(self, after: int, limit: int) -> dict[str, Any]:
        """A page of clients who do not exist, and the `next` of it."""
        query = {"after": after, "limit": limit}
        return self._ask("GET", "/reference/clients", seconds=_SLOW_SECONDS, params=query)

    def neighbours(self, client: Mapping[str, float | None]) -> dict[str, Any]:
        """The reference clients nearest to this one, and its place in the population."""
        return self._ask("POST", "/neighbours", client, seconds=_SLOW_SECONDS)

    def decide(self, client: Mapping[str, float | None], reference: str) -> Decided:
        """`reference`: the bank's own name of the client for the receipt; may be empty."""
        headers = {"X-Client-Reference": reference} if reference else {}
        response = self._send("POST", "/predict", headers=headers, json=client)
        told = response.headers
        return Decided(self._read(response), told.get("X-Decision-Id"), told.get(_DIGEST))

    def explain(self, client: Mapping[str, float | None]) -> dict[str, Any]:
        return self._ask("POST", "/explain", client)

    def predict_many(self, body: bytes, media_type: str, keep: Sequence[str], *, with_ids: bool) -> bytes:
        """The answer to a batch as it came, in the format of the body."""
        query = [("keep", name) for name in keep] + [("ids", "1")] * with_ids
        headers = {"Content-Type": media_type}
        sent = self._send(
            "POST", "/predict/batch", headers=headers, seconds=_SLOW_SECONDS, data=body, params=query
        )
        return sent.content

    def past_decisions(self, **query: str) -> dict[str, Any]:
        """A page of them, and the `next` of it."""
        return self._ask("GET", "/decisions", params=query)

    def past_decision(self, decision: str) -> dict[str, Any]:
        return self._ask("GET", f"/decisions/{decision}")

    def past_explanation(self, decision: str) -> dict[str, Any]:
        return self._ask("GET", f"/decisions/{decision}/explanation", seconds=_SLOW_SECONDS)

    def review(self, decision: str, review: Mapping[str, str]) -> dict[str, Any]:
        return self._ask("POST", f"/decisions/{decision}/review", review)

    def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, **more: Any
    ) -> dict[str, Any]:
        return self._read(self._send(method, path, json=body, **more))

    def _read(self, response: requests.Response) -> dict[str, Any]:
        try:
            answer = response.json()
        except requests.JSONDecodeError as error:
            raise self._other_service() from error
        if not isinstance(answer, dict):
            raise self._other_service()
        return answer

    def _send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        seconds: float = _SECONDS,
        **more: Any,
    ) -> requests.Response:
        sent = {**self._headers, **(headers or {})}
        try:
            response = requests.request(method, self._url + path, headers=sent, timeout=seconds, **more)
        except requests.Timeout as error:
            raise ApiError(
                f"L’API ({self._url}) n’a pas répondu à temps. Réessayez dans un instant.", Failure.SLOW
            ) from error
        except requests.RequestException as error:
            raise ApiError(
                f"L’API est injoignable à l’adresse {self._url}. Est-elle démarrée\u00a0?", Failure.ABSENT
            ) from error
        if not response.ok:
            failure = _FAILURES.get(response.status_code, Failure.REFUSED)
            raise ApiError(self._sentence(response), failure, response.status_code)
        if self._digest and response.headers.get(_DIGEST) != self._digest:
            raise ApiError(_OTHER_VERSION, Failure.OTHER_VERSION, response.status_code)
        return response

    def _sentence(self, response: requests.Response) -> str:
        try:
            return str(response.json()["error"])
        except (requests.JSONDecodeError, KeyError, TypeError):
            return f"L’API ({self._url}) a refusé la demande (statut {response.status_code})."

    def _other_service(self) -> ApiError:
        return ApiError(f"L’API ({self._url}) a répondu autre chose que du JSON.", Failure.OTHER_SERVICE)
