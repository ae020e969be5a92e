"""What the tests of past decisions share: a service with a journal, and those who may ask it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import servers
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
