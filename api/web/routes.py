"""The Flask application: the answer to each path, and the contract's form of every refusal."""

import io
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask, Response, g, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from api import logs, request_id
from api.deciding.answer import Answer, internal_error
from api.deciding.service import Service
from api.delivery.served import Model, ServedModel
from api.paths import (
    BATCH,
    DECISION,
    DECISIONS,
    DOCS,
    EXPLAIN,
    FRONT,
    HEALTH,
    METRICS,
    MODEL,
    MODEL_HISTORY,
    NEIGHBOURS,
    OPENAPI,
    PAST_EXPLANATION,
    PATHS,
    PREDICT,
    READY,
    REFERENCE,
    REFERENCE_CLIENTS,
    REVIEWED,
    UNKNOWN_PATH,
    Endpoint,
    find,
)
from api.recording.records import Asked
from api.reference.enquiries import Enquiries
from api.reviewing.desk import Desk
from api.reviewing.errors import JournalAbsent
from api.settings import Settings
from api.web import openapi
from features.catalogue import example_client, example_to_explain
from mlflow_model.errors import (
    BadData,
    BodyTooLarge,
    MethodNotAllowed,
    NotFound,
    RequestRefused,
    ScoringError,
)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
_access_log = logging.getLogger(logs.ACCESS)


def flask_app(service: Service, desk: Desk | None = None, enquiries: Enquiries | None = None) -> Flask:
    """The application that answers for this service. 503 as long as it has no model.

    `desk`: where the journal is asked, if there is one. `enquiries`: about the version and the reference; by
    default threads of this process answer them.
    """
    app = _without_paths()
    pages, past = _Pages(service, has_journal=desk is not None), _PastDecisions(desk)
    reference = _Reference(enquiries or Enquiries(service))
    views: dict[Endpoint, Callable[..., ResponseReturnValue]] = {
        PREDICT: pages.predict,
        EXPLAIN: pages.explain,
        BATCH: pages.predict_batch,
        DECISIONS: past.page,
        DECISION: past.decision,
        PAST_EXPLANATION: past.explanation,
        REVIEWED: past.review,
        MODEL: reference.model,
        MODEL_HISTORY: reference.history,
        REFERENCE: reference.totals,
        REFERENCE_CLIENTS: reference.clients,
        NEIGHBOURS: reference.neighbours,
        HEALTH: pages.health,
        READY: pages.ready,
        METRICS: pages.metrics,
        OPENAPI: pages.openapi,
        DOCS: pages.docs,
        FRONT: pages.front,
    }
    for one in PATHS:
        app.add_url_rule(one.path, view_func=views[one], methods=[one.method])
    _add_error_handlers(app)
    _add_hooks(app, service)
    return app


def _without_paths() -> Flask:
    app = Flask("api", root_path=str(Path(__file__).parent), static_folder=None)
    # One more than the limit: Werkzeug cuts a chunked body there without a word, which must be seen.
    app.config["MAX_CONTENT_LENGTH"] = PREDICT.body_limit + 1
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False  # or /predict//batch would be sent elsewhere, by the client's own Host
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.add_template_filter(_in_french, "french")
    return app


class _Pages:
    """What each path answers."""

    def __init__(self, service: Service, *, has_journal: bool) -> None:
        self._service, self._served, self._has_journal = service, service.served, has_journal
        settings = Settings.from_environment()
        minutes = settings.checkpoint_minutes  # read at the start: what is not valid ends the process
        self._checkpoints = None if minutes is None else (Path(settings.checkpoints), 60 * minutes)

    def predict(self) -> Response:
        headers = request.headers
        body = request.get_data()
        return _response(
            self._service.predict(
                headers.get("Content-Type"),
                headers.get("Content-Encoding"),
                headers.get("Authorization"),
                body,
                g.request_id,
                headers.get("X-Client-Reference"),
            )
        )

    def explain(self) -> Response:
        content_type, encoding = request.headers.get("Content-Type"), request.headers.get("Content-Encoding")
        return _response(self._service.explain(content_type, encoding, request.get_data(), g.request_id))

    def predict_batch(self) -> Response:
        content_type, encoding = request.headers.get("Content-Type"), request.headers.get("Content-Encoding")
        keep, ids = request.args.getlist("keep"), request.args.getlist("ids")
        if ids not in ([], ["1"]):
            raise BadData("ids ne peut valoir que 1")
        asked = Asked(g.request_id, g.token.name, request.headers.get("X-Client-Reference"))
        return _response(
            self._service.predict_batch(content_type, encoding, _batch_body(), asked, keep, bool(ids))
        )

    def health(self) -> Response:
        return jsonify(status="alive")

    def ready(self) -> Response:
        described = {**self._served.model.facts, "doubt": self._served.doubt}
        return jsonify({"status": "ready", **described, "journal": self._service.journal_state})

    def metrics(self) -> Response:
        from api.counting import metrics_page  # the library is only needed by those that ask

        checkpoints = self._checkpoints and metrics_page.Checkpoints(*self._checkpoints)
        content = metrics_page.page(
            self._service.tally, self._served, self._service.journal_state, checkpoints
        )
        return Response(content, content_type=metrics_page.CONTENT_TYPE)

    def openapi(self) -> Response:
        model = self._served.model
        return jsonify(self._document(model))

    def _document(self, model: Model) -> dict[str, Any]:
        return openapi.document(
            model.scorer,
            model.version,
            asks_for_tokens=self._service.guard.asks_for_tokens,
            has_journal=self._has_journal,
        )

    def docs(self) -> str:
        model = self._served.model
        return render_template(
            "docs.html",
            document=self._document(model),
            example=_example(model),
            example_to_explain=_indented(example_to_explain(model.scorer.features)),
            model=model.facts,
            asks_for_token=self._service.guard.asks_for_tokens,
        )

    def front(self) -> str:
        # What a proxy that adds TLS says of itself changes nothing but the example.
        scheme = "https" if request.headers.get("X-Forwarded-Proto") == "https" else "http"
        return render_template("index.html", scheme=scheme, **_front_page(self._served))


class _PastDecisions:
    """What the paths below /decisions answer."""

    def __init__(self, desk: Desk | None) -> None:
        self._desk = desk

    def page(self) -> Response:
        given = request.args.to_dict(flat=False)
        return _response(self._opened().page(given, g.token, g.request_id))

    def decision(self, id: str) -> Response:
        return _response(self._opened().decision(id, g.token, g.request_id))

    def explanation(self, id: str) -> Response:
        return _response(self._opened().explanation(id, g.token, g.request_id))

    def review(self, id: str) -> Response:
        content_type, encoding = request.headers.get("Content-Type"), request.headers.get("Content-Encoding")
        desk, body = self._opened(), request.get_data()
        return _response(desk.review(id, content_type, encoding, body, g.token, g.request_id))

    def _opened(self) -> Desk:
        if self._desk is None:
            raise JournalAbsent
        return self._desk


class _Reference:
    """What the paths about the version and the reference clients answer."""

    def __init__(self, enquiries: Enquiries) -> None:
        self._enquiries = enquiries

    def model(self) -> Response:
        return _response(self._enquiries.about_model(g.request_id))

    def history(self) -> Response:
        return _response(self._enquiries.history(g.request_id))

    def totals(self) -> Response:
        return _response(self._enquiries.totals(g.request_id))

    def clients(self) -> Response:
        return _response(self._enquiries.clients(request.args.to_dict(flat=False), g.request_id))

    def neighbours(self) -> Response:
        content_type, encoding = request.headers.get("Content-Type"), request.headers.get("Content-Encoding")
        body = request.get_data()
        return _response(self._enquiries.neighbours(content_type, encoding, body, g.request_id))


def _batch_body() -> bytes:
    """The body. If the server holds it whole, take it as it is: Werkzeug would copy its 16 MiB twice."""
    request.max_content_length = BATCH.body_limit + 1
    held = request.environ["wsgi.input"]
    return held.getvalue() if isinstance(held, io.BytesIO) else request.get_data()


def _add_error_handlers(app: Flask) -> None:
    @app.errorhandler(ScoringError)
    def refuse(error: ScoringError) -> Response:
        return _refused(error)

    @app.errorhandler(HTTPException)
    def refuse_http(error: HTTPException) -> Response:
        return _refused(_in_words(error))

    @app.errorhandler(Exception)
    def report_bug(error: Exception) -> Response:
        return _refused(internal_error(error, _asked_as()))


def _add_hooks(app: Flask, service: Service) -> None:
    @app.before_request
    def let_in() -> None:
        g.started = time.perf_counter()
        g.request_id = request_id.of(request.headers.get(request_id.HEADER))
        path = request.environ["PATH_INFO"]
        if path != PREDICT.path:  # which the service checks itself
            g.token = service.guard.check(path, request.headers.get("Authorization"))
        if find(path) is None:  # also if Flask has a rule for it, as Werkzeug takes two slashes for one
            request.url_rule = None
            raise NotFound

    @app.after_request
    def account(response: Response) -> Response:
        """Log one line per answer, without anything that the client chose, and count the answer."""
        method = request.method if request.method in _METHODS else "?"
        found = find(request.environ["PATH_INFO"])
        place = UNKNOWN_PATH if found is None or request.url_rule is None else found.path
        asked_as = _asked_as()
        facts = {"method": method, "path": place, "status": response.status_code, "request_id": asked_as}
        _access_log.info("%s %s %s", method, place, response.status_code, extra={"facts": facts})
        response.headers[request_id.HEADER] = asked_as
        if found is not None and found.asks_the_journal:
            response.headers["Cache-Control"] = "no-store"
        if (place, method) != (PREDICT.path, PREDICT.method) and "started" in g:
            service.tally.answered(place, response.status_code, time.perf_counter() - g.started)
        return response


def _in_words(error: HTTPException) -> ScoringError:
    """The contract's sentence for what Flask itself refuses."""
    if error.code == 404:
        return NotFound()
    if error.code == 405:
        return MethodNotAllowed(sorted(getattr(error, "valid_methods", None) or ()))
    if error.code == 413:
        return BodyTooLarge((request.max_content_length or PREDICT.body_limit + 1) - 1)
    return RequestRefused(error.code or 400)


def _response(answer: Answer) -> Response:
    return Response(answer.content, answer.status, answer.headers(_asked_as()))


def _asked_as() -> str:
    """The request's id. Where a request was refused before it had one, it gets one."""
    if "request_id" not in g:
        g.request_id = request_id.of(None)
    return str(g.request_id)


def _refused(error: ScoringError) -> Response:
    return _response(Answer.of(error, None))


def _example(model: Model) -> str:
    return _indented(example_client(model.scorer.features))


def _indented(client: dict[str, float]) -> str:
    return json.dumps(client, indent=2)


def _front_page(served: ServedModel) -> dict[str, Any]:
    try:
        return {"example": _example(served.model), "model": served.model.facts, "problem": None}
    except ScoringError as problem:
        return {"example": None, "model": None, "problem": str(problem)}


def _in_french(number: float) -> str:
    """1823436.45 as « 1 823 436,45 », with narrow no-break spaces and a true minus sign."""
    return f"{number:,.10g}".replace(",", "\u202f").replace(".", ",").replace("-", "\u2212")
