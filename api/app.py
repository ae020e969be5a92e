"""The documented entry: `python api/app.py`, `cd api && python app.py`, `gunicorn api.app:app`."""

from __future__ import annotations  # an older Python must get as far as the sentence about it

import argparse
import functools
import ipaddress
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `python api/app.py` starts without the root

# What the processes of the service import: the supervisor itself would start without most of it.
_PACKAGES = (
    *("cryptography", "flask", "httptools", "lightgbm", "mlflow", "numpy", "prometheus_client", "pyarrow"),
    *("requests", "uvloop", "yaml"),
)

if TYPE_CHECKING:
    from flask import Flask

    from api.delivery.served import ServedModel
    from api.settings import Settings


def create_app(served: ServedModel | None = None) -> Flask:
    """Make the Flask application.

    Given no ServedModel, the application looks for the model of MODEL_URI in the background and answers 503
    until it has one. The process that answers may be a fork of the one that made the application.
    """
    # Imported here: the supervisor runs this file too, and does not need Flask.
    from api.delivery.following import Following
    from api.delivery.served import ServedModel
    from api.settings import Settings
    from api.web import threaded

    settings = Settings.from_environment()
    if served is not None:
        return threaded.application(served, settings)
    served = ServedModel()
    app = threaded.application(served, settings)
    app.before_request(Following(served).begin)
    return app


def main(given: Sequence[str] | None = None) -> None:
    """Serve until interrupted or terminated."""
    from api.settings import Settings, refuse

    settings = Settings.from_environment()
    options = _parser(settings).parse_args(given)
    from api import logs
    from api.server import kept_files

    if settings.log_format not in ("", "json", "text"):
        refuse(f"LOG_FORMAT must be json or text, not {settings.log_format!r}")
    logs.configure()
    _check_access(options, settings)
    with kept_files.kept():
        if options.debug:
            from api.server import development

            development.serve(options.host, options.port)
        else:
            from api.server import supervisor

            supervisor.serve(options.host, options.port, options.workers)


def _check_access(options: argparse.Namespace, settings: Settings) -> None:
    """Refuse to serve decisions to a network unless tokens are asked for, or --no-auth says so."""
    from api.settings import TOKENS_FILE, refuse
    from mlflow_model import command

    if settings.tokens_file:
        _check_tokens(settings.tokens_file)
    if not (_is_loopback(options.host) or settings.tokens_file or options.no_auth):
        sentence = (
            f"--host {options.host} is open to others: set {TOKENS_FILE} (python -m api.tokens --help), "
            "or say --no-auth where something else lets only the right ones pass"
        )
        refuse(command.named_here(sentence))


def _check_tokens(file: Path) -> None:
    """Read the file once: the workers follow it, and a service that nobody may use is not started."""
    from api.followed_file import BadFile
    from api.settings import refuse
    from api.tokens import Guard

    try:
        Guard(file)
    except BadFile as error:
        refuse(str(error))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _parser(settings: Settings) -> argparse.ArgumentParser:
    from mlflow_model import arguments

    parser = arguments.Parser(
        prog="api/app.py",
        description="Serve POST /predict: one process supervises, the workers answer.",
        epilog="MODEL_URI names the model (default models:/scoring-client@champion), MLFLOW_TRACKING_URI the "
        "registry, MODEL_CACHE the folder of verified copies, RELOAD_SECONDS how often to look whether the "
        "alias has moved (default 5, 0 never), SHADOW_SHARE the share of clients that a challenger decides "
        "on too (default 0.1), MODEL_PUBLIC_KEY the key that must have signed a version, API_TOKENS_FILE "
        "who may ask, TARIFF_FILE which loans /explain may offer, REFERENCE whom /reference tells of, "
        "JOURNAL_URL where each decision is recorded (default journal.db in this project's folder, off for "
        "nowhere), LOG_FORMAT json or text. SIGTERM answers "
        "what was accepted and ends; SIGHUP puts new workers in the place of the old ones and refuses "
        "nobody. docs/operations.md tells more.",
    )
    add = parser.add_argument
    add("--port", type=int, default=settings.port, help="0 takes a free one (default: PORT, or 5000)")
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    workers = "processes (default: WORKERS, or the cores)"
    add("--workers", type=_at_least_one, default=settings.workers, help=workers)
    add("--no-auth", action="store_true", help="without tokens, on an address that others reach")
    add("--debug", action="store_true", help="Flask's development server instead, in one process")
    return parser


def _at_least_one(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError("must be a whole number above 0")
    return int(text)


def __getattr__(name: str) -> Flask:
    """`gunicorn api.app:app`: the application is made when it is first asked for, not at import."""
    if name == "app":
        return _the_app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@functools.cache
def _the_app() -> Flask:
    return create_app()


if __name__ == "__main__":
    from mlflow_model import command

    command.begin(*_PACKAGES)
    command.run(main)
