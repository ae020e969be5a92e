"""Writes answers as HTTP/1.1: status line, date, headers, content."""

import re
import time
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus

from api import request_id
from api.deciding.answer import Answer
from mlflow_model.errors import JournalUnavailable, ScoringError

COPIED_BYTES = 64 * 1024
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_DECISION = (
    b"HTTP/1.1 200 OK\r\n%b%b%bx-request-id: %b\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n%b\r\n%b"
)
_CLOSE = b"connection: close\r\n"
_DECISION_ID = b"x-decision-id: %b\r\n"
_REQUEST_ID = re.compile(rb"\r\nx-request-id: ([^\r]*)\r\n")
_OF_THE_MODEL = re.compile(r"(x-model-[a-z]+): ([^\r]*)")


class _Date:
    """The date line of every answer, made again once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._line = f"date: {formatdate(second, usegmt=True)}\r\n".encode()
        return self._line


_date = _Date()


def of(answer: Answer, asked_as: str, keep_alive: bool) -> bytes:
    """The answer to POST /predict. `asked_as`: the request's id."""
    if answer.status == 200 and answer.model is not None and not answer.own_headers:  # nearly always
        return _DECISION % (
            _date.line(),
            answer.model.head,
            b"" if answer.decision_id is None else _DECISION_ID % answer.decision_id.encode(),
            asked_as.encode(),
            len(answer.content),
            b"" if keep_alive else _CLOSE,
            answer.content,
        )
    return written(answer.status, answer.headers(asked_as), answer.content, keep_alive)


def unless_recorded(answer: bytes) -> bytes:
    """What leaves instead of a decision that could not be recorded. Other answers leave as they are."""
    head, _, _ = answer.partition(b"\r\n\r\n")
    if b"\r\nx-decision-id: " not in head:
        return answer
    found = _REQUEST_ID.search(head)
    asked_as = request_id.of(None) if found is None else found[1].decode("latin-1")
    refusal = Answer.of(JournalUnavailable(), None)
    keep_alive = b"\r\nconnection: close" not in head
    of_the_model = _OF_THE_MODEL.findall(head.decode("latin-1"))
    headers = [*of_the_model, *refusal.headers(asked_as)]
    return written(refusal.status, headers, refusal.content, keep_alive)


def of_no_request(error: ScoringError) -> bytes:
    """The answer to bytes that are no request. The connection ends with it."""
    answer = Answer.of(error, None)
    return written(answer.status, answer.headers(request_id.of(None)), answer.content, keep_alive=False)


def written(status: int, headers: Iterable[tuple[str, str]], content: bytes, keep_alive: bool) -> bytes:
    """The bytes of an answer. An answer to HEAD has the length of GET's content, and no content."""
    return b"".join(pieces(status, headers, content, keep_alive))


def pieces(status: int, headers: Iterable[tuple[str, str]], content: bytes, keep_alive: bool) -> list[bytes]:
    """The same in pieces: copying a batch's answer would take milliseconds of the event loop."""
    lines = [f"{name.lower()}: {value}\r\n" for name, value in headers]
    if not any(line.startswith("content-length:") for line in lines):
        lines.append(f"content-length: {len(content)}\r\n")
    head = b"".join(
        (
            _STATUS_LINES[status],
            _date.line(),
            "".join(lines).encode("latin-1"),
            b"" if keep_alive else _CLOSE,
            b"\r\n",
        )
    )
    return [head, content] if len(content) > COPIED_BYTES else [head + content]
