"""A request as HTTP frames it: its head, checked where it ends, and as much of its body as will be read."""

import re
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from api import paths
from api.paths import PREDICT
from mlflow_model.errors import BodyTooLarge, RequestRefused, ScoringError

_PATH, _TARGET = PREDICT.path, PREDICT.path.encode()
# Paths that read no body drop it, up to so many bytes.
DROPPED_LIMIT = 64 * 1024

# llhttp accepts a length with any number of leading zeros, Python's int() does not.
_MOST_DIGITS = 20
_VISIBLE = bytes(range(0x21, 0x7F))
_ABSOLUTE = re.compile(rb"https?://[^/?#]+", re.IGNORECASE)


class Request:
    """`fields` are the headers by their names in lower case, repeated ones joined by commas.

    `path` is decoded, as WSGI wants it: each character is one byte. `endpoint`: where it leads,
    if anywhere. `limit`: how much of the body is read.
    """

    body: bytes | bytearray = b""
    size = 0  # of the body that has come, dropped bytes included
    reserved = 0
    is_met = False
    is_queued = False
    is_told_to_continue = False
    refusal: ScoringError | None = None

    def __init__(
        self, method: bytes, target: bytes, version: str, fields: Mapping[bytes, bytes], keep_alive: bool
    ) -> None:
        """Raises ScoringError for a head that HTTP/1.1 forbids or that could be read in two ways."""
        self.method, self.version, self.fields = method, version, fields
        if version != "1.1":
            _check_former(version, fields)
        elif b"host" not in fields:
            raise RequestRefused(400)
        if b"host" in fields and fields[b"host"].translate(None, _VISIBLE):
            raise RequestRefused(400)
        if b"transfer-encoding" in fields and fields[b"transfer-encoding"].lower() != b"chunked":
            raise RequestRefused(501)
        if len(fields.get(b"content-length", b"")) > _MOST_DIGITS:
            raise RequestRefused(400)
        self.keep_alive = keep_alive and version == "1.1"
        if target == _TARGET:
            self.path, self.query = _PATH, b""
        else:
            self.path, self.query = _path_and_query(method, target)
        found = self.endpoint = paths.find(self.path)
        self.limit = 0 if found is None or method != found.method.encode() else found.body_limit
        self.is_for_a_decision = self.limit > 0 and self.path == _PATH
        if not self.limit and (self.length or 0) > DROPPED_LIMIT:
            raise BodyTooLarge(DROPPED_LIMIT)

    @property
    def length(self) -> int | None:
        """The length of the body. None if the head does not tell it."""
        if b"transfer-encoding" in self.fields:
            return None
        return int(self.fields.get(b"content-length", b"0"))

    @property
    def weight(self) -> int:
        """The bytes of the head in memory."""
        return (
            len(self.path)
            + len(self.query)
            + sum(map(len, self.fields))
            + sum(map(len, self.fields.values()))
        )

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for « 100 Continue » before it sends the body."""
        return self.version == "1.1" and self.fields.get(b"expect", b"").lower() == b"100-continue"

    def add(self, piece: bytes) -> None:
        """Keep a piece of the body, up to one byte beyond the limit, which shows that it is too large.

        Raises BodyTooLarge if this path reads no body, and too much has come.
        """
        self.size += len(piece)
        if self.limit:
            if isinstance(self.body, bytes):
                self.body = bytearray(self.body)  # grows in linear time
            self.body += piece[: self.limit + 1 - len(self.body)]
        elif self.size > DROPPED_LIMIT and not self.is_queued:
            raise BodyTooLarge(DROPPED_LIMIT)

    def drop_body(self) -> None:
        """Free the body, which the answer does not need."""
        self.limit, self.body = 0, b""


def text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _check_former(version: str, fields: Mapping[bytes, bytes]) -> None:
    """Refuse chunks in HTTP/1.0, which does not have them: a proxy may have read the request differently."""
    if version != "1.0":
        raise RequestRefused(505)
    if b"transfer-encoding" in fields:
        raise RequestRefused(400)


def _path_and_query(method: bytes, target: bytes) -> tuple[str, bytes]:
    """The path and query of a target, in any of HTTP's four forms.

    `*` and an authority name no path; the front page knows neither OPTIONS nor CONNECT, and refuses both.
    """
    if target[:1] != b"/":
        if method == b"CONNECT" or (method == b"OPTIONS" and target == b"*"):
            return "/", b""
        absolute = _ABSOLUTE.match(target)
        if absolute is None:
            raise RequestRefused(400)
        target = target[absolute.end() :]
    path, _, query = target.partition(b"#")[0].partition(b"?")
    return unquote_to_bytes(path or b"/").decode("latin-1"), query
