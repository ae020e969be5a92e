"""Decides many clients at once: headers and body bytes in; status, content type and body bytes out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from api.deciding import content_headers
from api.deciding.answer import Answer, internal_error
from api.deciding.formats import csv_rows, json_array, kept_columns
from api.deciding.formats.checked_columns import Column
from api.deciding.formats.clients import Clients
from api.deciding.listener import Listener
from api.deciding.places import Places, Room
from api.deciding.task import ModelTask
from api.delivery.served import Model
from api.paths import BATCH
from api.recording import client
from api.recording.receipts import Receipts
from api.recording.records import Asked
from journal import ids
from journal.record import Entry
from mlflow_model.bundle import decision_columns
from mlflow_model.bundle.scoring import Refusal, Scorer
from mlflow_model.errors import (
    AnswerTooLarge,
    BadData,
    BadRow,
    BatchTooSlow,
    BodyTooLarge,
    Busy,
    JournalUnavailable,
    NoClient,
    TooMuchMemory,
    UnsupportedMediaType,
)

ROOM = Room(at_once=2, waiting=2, wait_seconds=10.0)
SMALL = 64 * 1024


class Format(Protocol):
    """How clients are read, and how their decisions are to be written: one module for each media type."""

    MEDIA_TYPE: str

    def read(self, body: bytes, features: Sequence[str], keep: Sequence[str]) -> Clients: ...


_ARROW = "application/vnd.apache.arrow.stream"


@dataclass(frozen=True)
class Batch(ModelTask):
    """A request to POST /predict/batch. `keep` names columns to return; `with_ids`: the receipts' ids, too.

    `journal`: where its writer listens, empty without a journal. `caller`: the name of the token. `call`: the
    id that its receipts share.
    """

    called = "a batch"
    seconds = 60.0  # deployment/nginx.conf waits longer
    too_slow = BatchTooSlow
    places = Places(ROOM, Busy)

    content_type: str | None
    content_encoding: str | None
    keep: Sequence[str] = ()
    with_ids: bool = False
    journal: str = ""
    caller: str = ""
    call: str = ""

    @property
    def is_small(self) -> bool:
        """Never in Arrow: pyarrow would stay in the worker, and takes as much memory as all the rest."""
        return len(self.body) <= SMALL and content_headers.media_type(self.content_type) != _ARROW

    def answer(self, model: Model, listeners: Sequence[Listener]) -> Answer:
        try:
            content_headers.check_encoding(self.content_encoding)
            if len(self.body) > BATCH.body_limit:
                raise BodyTooLarge(BATCH.body_limit)
            form = _format(self.content_type)
            clients = form.read(self.body, model.scorer.features, self.keep)
            decisions = _decide(model.scorer, clients)
            more = (kept_columns.DECISION_ID,) if self.with_ids else ()
            kept_columns.check_free(self.keep, (*decisions, *more))
            receipts, answered = (
                self._receipts(model, clients.values, decisions) if self.journal else ([], None)
            )
            content = clients.write(decisions | self._ids(receipts))
            if self.keep and len(content) > kept_columns.ANSWER_LIMIT:
                raise AnswerTooLarge(kept_columns.ANSWER_LIMIT)
            if answered is not None:
                self._record(receipts, answered, listeners)
            for listener in listeners:
                _tell(listener, model, self.asked_as, clients.values, decisions)
            return Answer(200, content, model, form.MEDIA_TYPE)
        except MemoryError as error:
            raise TooMuchMemory from error

    def _record(self, receipts: Sequence[Entry], answered: Entry, listeners: Sequence[Listener]) -> None:
        """Return when all are on the disk. Raises JournalUnavailable."""

        def written(count: int, seconds: float) -> None:
            for listener in listeners:
                listener.recorded(BATCH.path, count, seconds)

        try:
            client.append(Path(self.journal), receipts, closing=[answered], written=written)
        except JournalUnavailable:
            for listener in listeners:
                listener.left_unanswered(BATCH.path, len(receipts))
            raise

    def _receipts(
        self, model: Model, clients: Mapping[str, Column], decisions: Mapping[str, Column]
    ) -> tuple[list[Entry], Entry]:
        asked = Asked(self.asked_as, self.caller)
        return Receipts("predict/batch").of_many(model, clients, decisions, asked, ids.read(self.call))

    def _ids(self, receipts: Sequence[Entry]) -> dict[str, Column]:
        if not self.with_ids:
            return {}
        return {kept_columns.DECISION_ID: np.array([ids.written(one.id) for one in receipts], object)}


def _tell(
    listener: Listener,
    model: Model,
    asked_as: str,
    clients: Mapping[str, Column],
    decisions: Mapping[str, Column],
) -> None:
    try:
        listener.decided_many(model, clients, decisions)
    except Exception as error:  # noqa: BLE001 - the decisions stand, whoever cannot hear of them
        internal_error(error, asked_as)


def _format(content_type: str | None) -> Format:
    match content_headers.media_type(content_type):
        case "application/json":
            return json_array
        case "text/csv":
            return csv_rows
        case "application/vnd.apache.arrow.stream":  # as _ARROW
            from api.deciding.formats import (
                arrow_stream,  # pyarrow weighs as much as all the rest of the process
            )

            return arrow_stream
    raise UnsupportedMediaType(
        "le type de contenu doit être application/json, text/csv ou application/vnd.apache.arrow.stream"
    )


def _decide(scorer: Scorer, clients: Clients) -> dict[str, Column]:
    rows = len(clients.values[scorer.features[0]])
    if not rows:
        raise NoClient
    try:
        return decision_columns.writable(scorer.decide_table(clients.values), rows)
    except scorer.Refusal as refused:
        raise _in_words(scorer, clients, _of_the_first_row(scorer, clients.values, refused)) from refused


def _of_the_first_row(scorer: Scorer, table: dict[str, Column], refused: Refusal) -> Refusal:
    """The refusal of the first bad row. The scorer checks by column, so an earlier row may be bad, too."""
    while refused.row:
        try:
            scorer.matrix({name: values[: refused.row] for name, values in table.items()})
        except scorer.Refusal as above:
            refused = above
        else:
            break
    return refused


def _in_words(scorer: Scorer, clients: Clients, refused: Refusal) -> BadData:
    """The bundle's own sentence, or what the format knows better about the feature that it names."""
    name = next((name for name in scorer.features if f"'{name}'" in refused.detail), None)
    if name is None or refused.row is None:
        return BadData(refused.detail)
    fault = clients.fault(clients.values[name][refused.row])
    return (
        BadData(refused.detail) if fault is None else BadRow(refused.row + 1, f"la variable '{name}' {fault}")
    )
