"""What can be asked about the version that is served and the reference clients, as tasks for a process.

The process is api/reference/reference_process.py. The answers import pyarrow, which workers are spared.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from api.deciding import one_client
from api.deciding.answer import Answer
from api.deciding.listener import Listener
from api.deciding.places import Places, Room
from api.deciding.task import ModelTask
from api.delivery.served import Model
from api.reference.errors import EnquiryTooSlow, TooManyEnquiries

ROOM = Room(at_once=1, waiting=4, wait_seconds=15.0)  # the first totals of a version take some seconds


class Enquiry(ModelTask):
    """A task that decides nothing: no listener is told of it."""

    seconds = 60.0
    too_slow = EnquiryTooSlow
    places = Places(ROOM, TooManyEnquiries)
    is_small = False


@dataclass(frozen=True)
class AboutModel(Enquiry):
    called = "a question about the version"

    def answer(self, model: Model, listeners: Sequence[Listener]) -> Answer:
        from api.reference import about

        return written(about.of(model), model)


@dataclass(frozen=True)
class Totals(Enquiry):
    called = "a question about the reference"

    def answer(self, model: Model, listeners: Sequence[Listener]) -> Answer:
        from api.reference import scored, totals

        return written(totals.of(scored.by(model)), model)


@dataclass(frozen=True)
class PageOfClients(Enquiry):
    """`after`: the number of the last client of the page before, 0 for the first page."""

    called = "a question about reference clients"

    after: int
    limit: int

    def answer(self, model: Model, listeners: Sequence[Listener]) -> Answer:
        from api.reference import clients, scored

        return written(clients.page(scored.by(model), self.after, self.limit), model)


@dataclass(frozen=True)
class Neighbours(Enquiry):
    """`body`: a client, as for POST /predict."""

    called = "a question about neighbours"

    content_type: str | None
    content_encoding: str | None

    def client(self, model: Model) -> dict[str, Any]:
        """Raises ScoringError, as POST /predict does."""
        client, _ = one_client.decide(model.scorer, self.content_type, self.content_encoding, self.body)
        return client

    def answer(self, model: Model, listeners: Sequence[Listener]) -> Answer:
        from api.reference import clients, scored

        return written(clients.around(self.client(model), scored.by(model)), model)


def written(content: object, model: Model) -> Answer:
    """The answer that says this."""
    return Answer(200, json.dumps(content, ensure_ascii=False, allow_nan=False).encode(), model)
