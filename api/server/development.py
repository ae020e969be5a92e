"""Flask's development server, for `python api/app.py --debug`: one process, a thread for each connection."""

import contextlib
import logging
import signal
import sys

from werkzeug.serving import WSGIRequestHandler, make_server

from api import logs
from api.delivery.finder import Finder
from api.delivery.served import ServedModel
from api.server import http_answer, listening
from api.settings import Settings
from api.web import threaded
from mlflow_model.errors import RequestRefused

_access_log = logging.getLogger(logs.ACCESS)


def serve(host: str, port: int) -> None:
    """Serve until SIGTERM, which raises SystemExit, or SIGINT, which raises KeyboardInterrupt."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    served = ServedModel()
    settings = Settings.from_environment()
    finder = Finder.of(settings, served.hear)
    with contextlib.ExitStack() as at_the_end:
        listener = at_the_end.enter_context(listening.listener(host, port))
        at_the_end.callback(finder.stop)
        finder.recall()
        finder.start()
        host, port = listener.getsockname()[:2]
        server = make_server(
            host,
            port,
            threaded.application(served, settings),
            threaded=True,
            request_handler=_RequestHandler,
            fd=listener.fileno(),
        )
        listening.announce(listener)
        server.serve_forever()
        raise KeyboardInterrupt  # werkzeug keeps it to itself


class _RequestHandler(WSGIRequestHandler):
    """Keeps connections alive, and refuses malformed HTTP in the contract's form without logging it."""

    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Flask logs what it answers, without what the client wrote."""

    def log_error(self, format: str, *args: object) -> None:
        _access_log.info("malformed HTTP")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        self.wfile.write(http_answer.of_no_request(RequestRefused(code)))
        self.close_connection = True
        self.log_error("")
