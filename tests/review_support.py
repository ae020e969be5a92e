"""What the tests of past decisions share: a service with a journal, and those who may ask it."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tests import servers
from tests.live import children_of, workers_of
from tests.servers import JSON, Answer, SocketDoor
from tests.test_recording import recorded

Client = dict[str, Any]
NAMES = {"scorer": "score", "anna": "review", "ben": "review", "carla": "audit"}
LABELS = {
    "reliable": "Classe_0 (fiable)",
    "grey": "Zone grise (incertain)",
    "risky": "Classe_1 (risqué)",
}
NOBODY = "01a0c0de-0000-7000-8000-000000000000"

UNKNOWN = "Aucune décision du journal n’a ce numéro."
ERASED = "Les données de cette décision ont été effacées : elle ne peut plus être ni expliquée ni revue."
GREY_ALONE = "Le rôle de ce jeton d’accès ne donne accès qu’aux décisions de la zone grise."
CONTRARY = (
    "Une autre personne a revu cette décision en sens contraire : "
    "seul un jeton du rôle audit peut la contredire."
)
DAMAGED = "Le journal est endommagé : « python -m journal verify » dit où."
SILENT = "Le journal ne répond pas : réessayez dans une seconde."


@dataclass(frozen=True)
class Bank:
    """A service, the tokens of its people by their names, and a client of each label."""

    door: SocketDoor
    tokens: dict[str, str]
    clients: dict[str, Client]

    @property
    def folder(self) -> Path:
        return self.door.log.parent

    def send(self, who: str | None, method: str, path: str, body: object = None, **more: str) -> Answer:
        """`body`: bytes as they are, anything else as JSON."""
        headers = dict(JSON) | more
        if who is not None:
            headers["Authorization"] = f"Bearer {self.tokens[who]}"
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        return self.door.send(method, path, content, headers)

    def get(self, who: str | None, path: str) -> Answer:
        return self.send(who, "GET", path)

    def decided(self, label: str, **headers: str) -> str:
        """Have a client of this label decided on. Return the decision's id."""
        who = "scorer" if self.tokens else None
        answer = self.send(who, "POST", "/predict", self.clients[label], **headers)
        assert answer.content["prediction"] == LABELS[label]
        return answer.headers["X-Decision-Id"]

    def review(self, who: str | None, decision: str, outcome: str, **more: str) -> Answer:
        body = {"outcome": outcome, "reason": "Dossier complet.", **more}
        return self.send(who, "POST", f"/decisions/{decision}/review", body)


@contextmanager
def bank_in(
    folder: Path, pickle: Path, clients: dict[str, Client], *, has_tokens: bool = True, **more: str
) -> Iterator[Bank]:
    tokens: dict[str, str] = {}
    if has_tokens:
        made = {name: servers.made_token(name, role) for name, role in NAMES.items()}
        tokens = {name: token for name, (token, _) in made.items()}
        (folder / "tokens").write_text("".join(line for _, line in made.values()))
        more |= {"API_TOKENS_FILE": str(folder / "tokens")}
    with recorded(pickle, folder, **more) as door:
        yield Bank(door, tokens, clients)


def listed(bank: Bank, who: str | None, query: str = "") -> list[dict[str, Any]]:
    answer = bank.get(who, f"/decisions{query}")
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.content["decisions"]
    return found


def ids_of(decisions: list[dict[str, Any]]) -> list[str]:
    return [one["id"] for one in decisions]


def seconds_of(text: str) -> float:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text)
    return datetime.fromisoformat(text).timestamp()


def journal_processes(bank: Bank) -> list[int]:
    """Those of the one worker, one at least."""
    (worker,) = workers_of(bank.door)
    found = children_of(replace(bank.door, pid=worker), "api.reviewing.journal_process")
    assert found
    return found
