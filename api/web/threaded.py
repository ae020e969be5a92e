"""The application of a server that has a thread for each request: gunicorn's, or Flask's own."""

from flask import Flask

from api.counting.tally import Tally
from api.deciding.service import Service
from api.delivery.served import ServedModel
from api.recording.waiting import Waiting
from api.reference.enquiries import Enquiries, reference_pool
from api.reviewing.desk import Desk, journal_pool
from api.settings import Settings
from api.tokens import Guard
from api.web.routes import flask_app


def application(served: ServedModel, settings: Settings) -> Flask:
    """Records decisions, and answers about past ones, unless somebody said that nothing is recorded."""
    guard, tally = Guard(settings.tokens_file), Tally()
    service = Service(served, guard, tally, records=Waiting(tally) if settings.records else None)
    desk = Desk(service, settings.cache, journal_pool()) if settings.records else None
    return flask_app(service, desk, Enquiries(service, reference_pool()))
