"""Flask's development server, for `python api/app.py --debug`: one process, a thread for each connection."""

import contextlib
import logging
import signal

from werkzeug.serving import WSGIRequestHandler, make_server

from api import http_answer, listening, logs
from api.finder import Finder
from api.routes import flask_app
from api.served import ServedModel
from api.service import Service
from api.tokens import Guard
from mlflow_model.errors import RequestRefused

_access_log = logging.getLogger(logs.ACCESS)


def serve(host: str, port: int) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    served = ServedModel()
    finder = Finder.from_environment(served.hear)
    with contextlib.ExitStack() as at_the_end:
        at_the_end.enter_context(contextlib.suppress(KeyboardInterrupt))
        listener = at_the_end.enter_context(listening.listener(host, port))
        at_the_end.callback(finder.stop)
        finder.recall()
        finder.start()
        host, port = listener.getsockname()[:2]
        server = make_server(
            host,
            port,
            flask_app(Service(served, Guard.from_environment())),
            threaded=True,
            request_handler=_RequestHandler,
            fd=listener.fileno(),
        )
        listening.announce(listener)
        server.serve_forever()


class _RequestHandler(WSGIRequestHandler):
    """Keeps connections alive, says the contract's form of "no" to what is no HTTP, and logs none of it."""

    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Flask logs what it answers, without what the client wrote."""

    def log_error(self, format: str, *args: object) -> None:
        _access_log.info("malformed HTTP")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        self.wfile.write(http_answer.of_no_request(RequestRefused(code)))
        self.close_connection = True
        self.log_error("")
