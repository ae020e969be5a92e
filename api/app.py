"""The documented Flask application.

Started by `python api/app.py`, `cd api && python app.py` or `gunicorn api.app:app`.
"""

import argparse
import contextlib
import functools
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `python api/app.py` starts without the root

from flask import Flask, Response, jsonify, render_template, request
from werkzeug.exceptions import HTTPException
from werkzeug.serving import WSGIRequestHandler, make_server

from api import batch, openapi, predict
from api.served import Model, ServedModel
from mlflow_model.errors import (
    BodyTooLarge,
    Busy,
    MethodNotAllowed,
    NotFound,
    RequestRefused,
    ScoringError,
)
from mlflow_model.features import example_client

DEFAULT_PORT = 5000

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
_access_log = logging.getLogger("scoring_client.access")


def create_app(served: ServedModel | None = None) -> Flask:
    """Make the application.

    Without a ServedModel it looks for MODEL_URI's in the background and answers 503 until then.
    """
    if served is None:
        served = ServedModel.from_environment()
        served.start()
    app = Flask("api", root_path=str(Path(__file__).parent), static_folder=None)
    # One more than the limit: Werkzeug cuts a chunked body there without a word, and `answer` must see that.
    app.config["MAX_CONTENT_LENGTH"] = predict.BODY_LIMIT + 1
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.add_template_filter(_in_french, "french")
    _add_routes(app, served)
    _add_error_handlers(app)
    app.after_request(_log_answer)
    return app


def _add_routes(app: Flask, served: ServedModel) -> None:
    @app.post("/predict")
    def decide() -> Response:
        model = served.model
        headers = request.headers
        body = request.get_data()
        return _json(
            *predict.answer(model.scorer, headers.get("Content-Type"), headers.get("Content-Encoding"), body)
        )

    @app.post("/predict/batch")
    def decide_many() -> Response:
        request.max_content_length = batch.BODY_LIMIT + 1
        model = served.model
        headers = request.headers
        body = request.get_data()
        status, content_type, content = batch.answer(
            model.scorer, headers.get("Content-Type"), headers.get("Content-Encoding"), body
        )
        again = {"Retry-After": "1"} if status == Busy.status else {}
        return Response(content, status, again, content_type=content_type)

    @app.get("/health")
    def health() -> Response:
        return jsonify(status="alive")

    @app.get("/ready")
    def ready() -> Response:
        return jsonify(_described(served.model))

    @app.get("/openapi.json")
    def specification() -> Response:
        return jsonify(openapi.document(served.model.scorer, served.model.version))

    @app.get("/docs")
    def docs() -> str:
        model = served.model
        document = openapi.document(model.scorer, model.version)
        return render_template(
            "docs.html", document=document, example=_example(model), model=_described(model)
        )

    @app.get("/")
    def index() -> str:
        return render_template("index.html", **_front_page(served))


def _add_error_handlers(app: Flask) -> None:
    @app.errorhandler(ScoringError)
    def refuse(error: ScoringError) -> Response:
        return _json(*predict.refusal(error))

    @app.errorhandler(HTTPException)
    def refuse_http(error: HTTPException) -> Response:
        response = _json(*predict.refusal(_in_words(error)))
        response.headers.extend(header for header in error.get_headers() if header[0] == "Allow")
        return response

    @app.errorhandler(Exception)
    def report_bug(error: Exception) -> Response:
        return _json(*predict.refusal(predict.internal_error(error)))


def _log_answer(response: Response) -> Response:
    """One line an answer, with nothing in it that the client made up."""
    method = request.method if request.method in _METHODS else "?"
    place = request.url_rule.rule if request.url_rule else "unknown path"
    _access_log.info("%s %s %s", method, place, response.status_code)
    return response


def _in_words(error: HTTPException) -> ScoringError:
    """The contract's sentence for what Flask itself refuses."""
    if error.code == 404:
        return NotFound()
    if error.code == 405:
        return MethodNotAllowed(sorted(getattr(error, "valid_methods", None) or ()))
    if error.code == 413:
        return BodyTooLarge((request.max_content_length or predict.BODY_LIMIT + 1) - 1)
    return RequestRefused(error.code or 400)


def _json(status: int, body: bytes) -> Response:
    return Response(body, status, mimetype="application/json")


def _described(model: Model) -> dict[str, Any]:
    policy = model.scorer.policy
    bounds = {"lower_bound": policy.lower_bound, "upper_bound": policy.upper_bound}
    return {
        "status": "ready",
        "name": model.name,
        "version": model.version,
        "alias": model.alias,
        "digest": model.digest,
        "policy": {"optimal_threshold": policy.threshold, "margin": policy.margin, **bounds},
    }


def _example(model: Model) -> str:
    return json.dumps(example_client(model.scorer.features), indent=2)


def _front_page(served: ServedModel) -> dict[str, Any]:
    try:
        return {"example": _example(served.model), "model": _described(served.model), "problem": None}
    except ScoringError as problem:
        return {"example": None, "model": None, "problem": str(problem)}


def _in_french(number: float) -> str:
    """1823436.45 as « 1 823 436,45 », with narrow no-break spaces and a true minus sign."""
    return f"{number:,.10g}".replace(",", "\u202f").replace(".", ",").replace("-", "\u2212")


class _RequestHandler(WSGIRequestHandler):
    """Keeps connections alive, says the contract's form of "no" to what is no HTTP, and logs none of it."""

    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Flask logs what it answers, without what the client wrote."""

    def log_error(self, format: str, *args: object) -> None:
        _access_log.info("malformed HTTP")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        status, body = predict.refusal(RequestRefused(code))
        head = f"HTTP/1.1 {int(status)} Refused\r\nContent-Type: application/json\r\n"
        self.wfile.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        self.close_connection = True
        self.log_error("")


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve on 127.0.0.1 until interrupted or terminated."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    served = ServedModel.from_environment()
    with contextlib.ExitStack() as at_the_end:
        at_the_end.enter_context(contextlib.suppress(KeyboardInterrupt))
        listener = at_the_end.enter_context(_listener(options.host, options.port))
        at_the_end.callback(served.stop)
        served.start()
        host, port = listener.getsockname()[:2]
        server = make_server(
            host,
            port,
            create_app(served),
            threaded=True,
            request_handler=_RequestHandler,
            fd=listener.fileno(),
        )
        logging.info("Scoring Client answers on http://%s:%s (documentation: /docs)", host, port)
        server.serve_forever()


def _listener(host: str, port: int) -> socket.socket:
    """A listening socket, or one line that says why there is none and what to do."""
    try:
        return socket.create_server((host, port))
    except OverflowError:
        sys.exit(f"Port {port} does not exist: choose one from 1 to 65535 with PORT=")
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        sys.exit(f"Port {port} is not available ({reason}): choose another with PORT=")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="api/app.py",
        description="Serve POST /predict.",
        epilog="MODEL_URI names the model (default models:/scoring-client@champion), MLFLOW_TRACKING_URI the "
        "registry, MODEL_CACHE the folder of verified copies.",
    )
    port = os.environ.get("PORT", str(DEFAULT_PORT))
    parser.add_argument("--port", type=int, default=port, help="0 takes a free one (default: PORT, or 5000)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    return parser


def __getattr__(name: str) -> Flask:
    """`gunicorn api.app:app`: the application is made when it is first asked for, not at import."""
    if name == "app":
        return _the_app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@functools.cache
def _the_app() -> Flask:
    return create_app()


if __name__ == "__main__":
    main()
