"""The Flask application: every path, its answer, and the contract's form of every refusal."""

import json
import logging
from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

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

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
_access_log = logging.getLogger("scoring_client.access")


def flask_app(served: ServedModel) -> Flask:
    """The application that answers for this model, or 503 as long as there is none."""
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
        return jsonify({"status": "ready", **_described(served.model), "doubt": served.doubt})

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
        "name": model.name,
        "version": model.version,
        "alias": model.alias,
        "digest": model.digest,
        "confirmed": model.confirmed,
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
