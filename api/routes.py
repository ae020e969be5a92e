"""The Flask application: every path, its answer, and the contract's form of every refusal."""

import io
import json
import logging
import time
from pathlib import Path
from typing import Any

from flask import Flask, Response, g, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

from api import batch, logs, openapi, predict, request_id
from api.served import Model, ServedModel
from api.service import Answer, Service
from mlflow_model.errors import (
    BodyTooLarge,
    Busy,
    MethodNotAllowed,
    NotFound,
    RequestRefused,
    ScoringError,
    Unauthorized,
)
from mlflow_model.features import example_client

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
_access_log = logging.getLogger(logs.ACCESS)


def flask_app(service: Service) -> Flask:
    """The application that answers for this service's model, or 503 as long as there is none."""
    app = Flask("api", root_path=str(Path(__file__).parent), static_folder=None)
    # One more than the limit: Werkzeug cuts a chunked body there without a word, and `answer` must see that.
    app.config["MAX_CONTENT_LENGTH"] = predict.BODY_LIMIT + 1
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False  # or /predict//batch would be sent elsewhere, by the client's own Host
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.add_template_filter(_in_french, "french")
    _add_decisions(app, service)
    _add_descriptions(app, service)
    _add_error_handlers(app)
    _add_hooks(app, service)
    return app


def _add_decisions(app: Flask, service: Service) -> None:
    @app.post("/predict")
    def decide() -> Response:
        headers = request.headers
        body = request.get_data()
        return _response(
            service.predict(
                headers.get("Content-Type"),
                headers.get("Content-Encoding"),
                headers.get("Authorization"),
                body,
                g.request_id,
            )
        )

    @app.post("/predict/batch")
    def decide_many() -> Response:
        headers = request.headers
        return _response(
            service.predict_batch(
                headers.get("Content-Type"), headers.get("Content-Encoding"), _batch_body(), g.request_id
            )
        )


def _batch_body() -> bytes:
    """As it is where the server holds it whole: Werkzeug would copy its 16 MiB twice while /predict waits."""
    request.max_content_length = batch.BODY_LIMIT + 1
    held = request.environ["wsgi.input"]
    return held.getvalue() if isinstance(held, io.BytesIO) else request.get_data()


def _add_descriptions(app: Flask, service: Service) -> None:
    served = service.served

    @app.get("/health")
    def health() -> Response:
        return jsonify(status="alive")

    @app.get("/ready")
    def ready() -> Response:
        return jsonify({"status": "ready", **_described(served.model), "doubt": served.doubt})

    @app.get("/metrics")
    def metrics() -> Response:
        from api import metrics  # the library is only needed by those that ask

        return Response(metrics.page(service.tally, served), content_type=metrics.CONTENT_TYPE)

    @app.get("/openapi.json")
    def specification() -> Response:
        return jsonify(openapi.document(served.model.scorer, served.model.version))

    @app.get("/docs")
    def docs() -> str:
        model = served.model
        document = openapi.document(model.scorer, model.version)
        return render_template(
            "docs.html",
            document=document,
            example=_example(model),
            model=_described(model),
            asks_for_token=service.guard.asks_for_tokens,
        )

    @app.get("/")
    def index() -> str:
        # What a proxy that adds TLS says of itself changes nothing but the example.
        scheme = "https" if request.headers.get("X-Forwarded-Proto") == "https" else "http"
        return render_template("index.html", scheme=scheme, **_front_page(served))


def _add_error_handlers(app: Flask) -> None:
    @app.errorhandler(ScoringError)
    def refuse(error: ScoringError) -> Response:
        response = _json(*predict.refusal(error))
        if error.status == Busy.status:  # so long, too, until there may be a model
            response.headers["Retry-After"] = "1"
        return response

    @app.errorhandler(HTTPException)
    def refuse_http(error: HTTPException) -> Response:
        response = _json(*predict.refusal(_in_words(error)))
        response.headers.extend(header for header in error.get_headers() if header[0] == "Allow")
        return response

    @app.errorhandler(Exception)
    def report_bug(error: Exception) -> Response:
        return _json(*predict.refusal(predict.internal_error(error, g.get("request_id"))))


def _add_hooks(app: Flask, service: Service) -> None:
    @app.before_request
    def let_in() -> None:
        g.started = time.perf_counter()
        g.request_id = request_id.of(request.headers.get(request_id.HEADER))
        path = request.environ["PATH_INFO"]
        if path != "/predict":  # which the service checks itself
            service.guard.check(path, request.headers.get("Authorization"))
        if path.startswith("//"):  # which Werkzeug takes for one slash
            request.url_rule = None
            raise NotFound

    @app.after_request
    def account(response: Response) -> Response:
        """One line an answer, with nothing in it that the client made up, and one more in the metrics."""
        method = request.method if request.method in _METHODS else "?"
        place = request.url_rule.rule if request.url_rule else "unknown path"
        asked_as = g.get("request_id") or request_id.of(None)
        facts = {"method": method, "path": place, "status": response.status_code, "request_id": asked_as}
        _access_log.info("%s %s %s", method, place, response.status_code, extra={"facts": facts})
        response.headers[request_id.HEADER] = asked_as
        if (place, method) != ("/predict", "POST") and "started" in g:
            service.tally.answered(place, response.status_code, time.perf_counter() - g.started)
        if response.status_code == Unauthorized.status:
            response.headers["WWW-Authenticate"] = "Bearer"
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


def _response(answer: Answer) -> Response:
    return Response(
        answer.content, answer.status, answer.headers(g.request_id), content_type=answer.content_type
    )


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
