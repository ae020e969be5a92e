"""Calls a WSGI application with a whole request, and returns its whole answer."""

import io
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from api.server.http_request import Request

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

Address = tuple[str, int]

# These headers say how the body was sent. WSGI gets it whole, with its length.
_FRAMING = (b"content-length", b"transfer-encoding")


class Response(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    content: bytes


def environ(request: Request, server: Address, client: Address) -> "WSGIEnvironment":
    """The environment of PEP 3333. Leave out names with underscores: WSGI takes them for hyphens."""
    found: dict[str, Any] = {
        "REQUEST_METHOD": request.method.decode("latin-1"),
        "SCRIPT_NAME": "",
        "PATH_INFO": request.path,
        "QUERY_STRING": request.query.decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{request.version}",
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "REMOTE_ADDR": client[0],
        "REMOTE_PORT": str(client[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in request.fields.items():
        if b"_" not in name and name not in _FRAMING:
            found["HTTP_" + name.decode("latin-1").upper().replace("-", "_")] = value.decode("latin-1")
    if "HTTP_CONTENT_TYPE" in found:
        found["CONTENT_TYPE"] = found.pop("HTTP_CONTENT_TYPE")
    if any(name in request.fields for name in _FRAMING):
        found["CONTENT_LENGTH"] = str(len(request.body))
    return found


def call(application: "WSGIApplication", environ: "WSGIEnvironment") -> Response:
    status, headers = "", []
    parts: list[bytes] = []

    def start_response(its_status: str, its_headers: list[tuple[str, str]], exc_info: object = None) -> "Any":
        nonlocal status, headers
        status, headers = its_status, its_headers
        return parts.append

    chunks = application(environ, start_response)
    try:
        parts.extend(chunks)
    finally:
        getattr(chunks, "close", lambda: None)()
    return Response(int(status.partition(" ")[0]), headers, b"".join(parts))
