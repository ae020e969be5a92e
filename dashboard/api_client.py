"""Calls the scoring API over HTTP. Any failure becomes one French sentence."""

from collections.abc import Mapping
from typing import Any

import requests

_SECONDS = 10.0


class ApiError(Exception):
    """The API's own sentence about a refusal, or ours if the API sent none."""


class ScoringApi:
    def __init__(self, url: str, token: str | None = None) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def specification(self) -> dict[str, Any]:
        """The OpenAPI document of the served model."""
        return self._ask("GET", "/openapi.json")

    def ready(self) -> dict[str, Any]:
        """Name, version, alias and policy of the served model."""
        return self._ask("GET", "/ready")

    def predict(self, client: Mapping[str, float | None]) -> dict[str, Any]:
        return self._ask("POST", "/predict", client)

    def explain(self, client: Mapping[str, float | None]) -> dict[str, Any]:
        return self._ask("POST", "/explain", client)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            response = requests.request(
                method, self._url + path, json=body, headers=self._headers, timeout=_SECONDS
            )
            answer = response.json()
        except requests.JSONDecodeError as error:
            raise ApiError(f"L’API ({self._url}) a répondu autre chose que du JSON.") from error
        except requests.Timeout as error:
            raise ApiError(
                f"L’API ({self._url}) n’a pas répondu à temps. Réessayez dans un instant."
            ) from error
        except requests.RequestException as error:
            raise ApiError(f"L’API est injoignable à l’adresse {self._url}. Est-elle démarrée ?") from error
        if not isinstance(answer, dict) or not response.ok:
            sentence = answer.get("error") if isinstance(answer, dict) else None
            raise ApiError(
                sentence or f"L’API ({self._url}) a refusé la demande (statut {response.status_code})."
            )
        return answer
