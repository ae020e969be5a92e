"""Decides many clients at once: headers and body bytes in; status, content type and body bytes out."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from api import batch_columns, batch_csv, batch_json, predict
from api.batch_columns import Column
from mlflow_model.errors import (
    BadData,
    BodyTooLarge,
    Busy,
    NoClient,
    ScoringError,
    TooMuchMemory,
    UnsupportedMediaType,
)
from mlflow_model.scoring import Refusal, Scorer

BODY_LIMIT = 16 * 1024 * 1024
COMPUTED_AT_ONCE = 2
WAITING = 2
WAIT_SECONDS = 10.0


class Format(Protocol):
    """How clients are read and decisions written: one module for each media type."""

    MEDIA_TYPE: str

    def read(self, body: bytes, features: Sequence[str]) -> dict[str, Column]: ...

    def write(self, decisions: Mapping[str, Column]) -> bytes: ...


class Places:
    """Bounds what batches take from the rest of the process: a few are computed, a few wait, others go."""

    def __init__(self, computed_at_once: int, waiting: int) -> None:
        self._admitted = threading.BoundedSemaphore(computed_at_once + waiting)
        self._computing = threading.BoundedSemaphore(computed_at_once)

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a place, perhaps after a wait. Raises Busy without room to wait, or after WAIT_SECONDS."""
        if not self._admitted.acquire(blocking=False):
            raise Busy
        try:
            if not self._computing.acquire(timeout=WAIT_SECONDS):
                raise Busy
            try:
                yield
            finally:
                self._computing.release()
        finally:
            self._admitted.release()


PLACES = Places(COMPUTED_AT_ONCE, WAITING)


Watch = Callable[[dict[str, Column], dict[str, Column]], None]
Answered = tuple[int, str, bytes]  # status, content type, content


class Request(NamedTuple):
    """What POST /predict/batch was asked. `asked_as` is its id."""

    content_type: str | None
    content_encoding: str | None
    body: bytes
    asked_as: str


_ARROW = "application/vnd.apache.arrow.stream"


def answer(
    scorer: Scorer,
    content_type: str | None,
    content_encoding: str | None,
    body: bytes,
    watch: Watch | None = None,
) -> Answered:
    """The whole of POST /predict/batch but for the transport.

    `watch` is called with the columns of a batch that was decided on, and those of the decisions.
    """
    try:
        _check_encoding(content_encoding)
        if len(body) > BODY_LIMIT:
            raise BodyTooLarge(BODY_LIMIT)
        form = _format(content_type)
        table = form.read(body, scorer.features)
        decisions = _decided(scorer, table)
        content = form.write(decisions)
        if watch is not None:
            watch(table, decisions)
        return 200, form.MEDIA_TYPE, content
    except ScoringError as error:
        return refusal(error)
    except MemoryError:
        return refusal(TooMuchMemory())


def refusal(error: ScoringError) -> Answered:
    status, sentence = predict.refusal(error)
    return status, "application/json", sentence


def is_arrow(content_type: str | None) -> bool:
    return _media_type(content_type) == _ARROW


def _format(content_type: str | None) -> Format:
    match _media_type(content_type):
        case "application/json":
            return batch_json
        case "text/csv":
            return batch_csv
        case "application/vnd.apache.arrow.stream":  # as _ARROW
            from api import batch_arrow  # pyarrow weighs as much as all the rest of the process

            return batch_arrow
    raise UnsupportedMediaType(
        "le type de contenu doit être application/json, text/csv ou application/vnd.apache.arrow.stream"
    )


def _media_type(content_type: str | None) -> str:
    return (content_type or "").partition(";")[0].strip().lower()


def _check_encoding(content_encoding: str | None) -> None:
    if (content_encoding or "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("le corps de la requête ne doit pas être compressé (Content-Encoding)")


def _decided(scorer: Scorer, table: dict[str, Column]) -> dict[str, Column]:
    rows = len(table[scorer.features[0]])
    if not rows:
        raise NoClient
    try:
        return batch_columns.writable(scorer.decide_table(table), rows)
    except scorer.Refusal as refused:
        raise BadData(_of_the_first_row(scorer, table, refused).detail) from refused


def _of_the_first_row(scorer: Scorer, table: dict[str, Column], refused: Refusal) -> Refusal:
    """The scorer looks column by column: the rows above its refusal may have one in a later column."""
    while refused.row:
        try:
            scorer.matrix({name: values[: refused.row] for name, values in table.items()})
        except scorer.Refusal as above:
            refused = above
        else:
            break
    return refused
