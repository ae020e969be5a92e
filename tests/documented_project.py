"""The project as the documents know it: a registry, a champion, an API and a journal of its own."""

import contextlib
import io
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

import register
from api import settings
from api.counting.tally import Tally
from api.deciding.service import Service
from api.delivery.finder import Finder
from api.delivery.served import Model, ServedModel
from api.recording.receipts import Receipts
from api.recording.records import Asked
from api.recording.waiting import Waiting
from api.reviewing.desk import Desk
from api.web.routes import flask_app
from features.catalogue import FITTING_LOAN, example_client
from journal import ids, record, store
from journal.record import Entry
from journal.writer import Writer
from mlflow_model import command
from mlflow_model.errors import ModelUnavailable
from tests.looking import look_once

EXTERNAL_SCORES = ((0.4, 0.1, 0.1), (0.4, 0.3, 0.3), (0.45, 0.42, 0.38), (0.5, 0.5, 0.45))


_PAST = "019abf2e-5c40-7000-8000-00000000000{}"


def _documented_receipt(receipts: Receipts, model: Model, scores: Sequence[float]) -> Entry:
    """Of the client whose figures hang together, with these external scores."""
    of_client = {f"EXT_SOURCE_{number}": score for number, score in enumerate(scores, 1)}
    client = example_client(model.scorer.features) | FITTING_LOAN | of_client
    asked = Asked("r-1", "agence", "dossier-12")
    receipt = receipts.of(model, client, model.scorer.decide(client), asked)
    assert receipt.model is not None
    return receipt._replace(model=replace(receipt.model, code="c45999dc83fd"))  # of one day's code


class Project:
    """What a newcomer has after `make serve`: a champion and an API, each made when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def served(self) -> ServedModel:
        if not (self.folder / "mlflow.db").exists():
            self.register()
        served = ServedModel()
        Finder(settings.DEFAULT_MODEL_URI, self.folder / "cache", served.hear).start()
        _wait_for_model(served)
        return served

    @cached_property
    def journal(self) -> Path:
        """A journal with a decision of each label, made at documented moments."""
        receipts = Receipts("predict")
        store.make()[0].close()
        with contextlib.closing(store.opened()) as journal, Writer(journal, "documentation", "0") as writer:
            for number, scores in enumerate(EXTERNAL_SCORES[1:]):
                receipt = _documented_receipt(receipts, self.served.model, scores)
                moment = record.moment(f"2026-11-26T09:3{number}:00")
                past = receipt._replace(id=ids.read(_PAST.format(number)), time=moment)
                writer.append_entries([past])
        return self.folder / "journal.db"

    def http(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any, str]:
        """Status, headers and body of the answer."""
        if path == "/invocations":
            return self._invoke(body)
        records = Waiting(Tally()) if path == "/ready" else None  # no answer shall leave a receipt
        service = Service(self.served, records=records)
        client = flask_app(service, Desk(service, self.folder / "cache")).test_client()
        if path.startswith("/decisions"):
            _ = self.journal
        response = client.open(path, method=method, headers=list(headers.items()), data=body)
        return response.status_code, response.headers, response.text

    def _invoke(self, body: bytes) -> tuple[int, Any, str]:
        """What `mlflow models serve` calls at /invocations."""
        import mlflow
        from mlflow.pyfunc import scoring_server

        assert self.served.model
        model = mlflow.pyfunc.load_model(settings.DEFAULT_MODEL_URI)
        schema = model.metadata.get_input_schema()
        answer = scoring_server.invocations(body.decode(), "application/json", model, schema)
        return answer.status, {"Content-Type": answer.mimetype}, answer.response

    def register(self, arguments: Sequence[str] = ()) -> str:
        """What register.py prints; what it writes to standard output goes to FILE after `> FILE`."""
        with printed() as output, contextlib.ExitStack() as stack:
            if ">" in arguments:
                *arguments, _, file = arguments
                stack.enter_context(redirect_stdout(stack.enter_context((self.folder / file).open("w"))))
            register.main(arguments)
        return output.getvalue()

    def problem(self, variables: Mapping[str, str]) -> str:
        """Why there is no model under these variables; without any, why there is none just after a start."""
        uri = variables.get("MODEL_URI", settings.DEFAULT_MODEL_URI)
        try:
            with pytest.MonkeyPatch.context() as patch:
                for name, value in variables.items():
                    patch.setenv(name, value)
                if variables:
                    return str(look_once(uri, self.folder / "cache").problem)
                return str(ServedModel().model)
        except ModelUnavailable as problem:
            return str(problem)


@contextmanager
def sandbox() -> Iterator[Project]:
    """A project in an empty folder, made the current one, with the pickles that the documents call wrong."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name).resolve()
        (folder / "sans_cles.pkl").write_bytes(pickle.dumps({"features": []}))
        (folder / "abime.pkl").write_bytes(b"\x80\x04 damaged")
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.setenv("JOURNAL_URL", f"sqlite:///{folder / 'journal.db'}")
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        patch.delenv("MODEL_PUBLIC_KEY", raising=False)
        patch.setenv("LOGNAME", "analyst")  # who did what is part of the history
        patch.chdir(folder)
        patch.setattr(command, "ROOT", folder)  # the reader is in the clone, where .venv is active
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        patch.delenv("MAKELEVEL", raising=False)
        yield Project(folder)


def _wait_for_model(served: ServedModel) -> None:
    for _ in range(600):
        try:
            assert served.model
            return
        except ModelUnavailable:
            time.sleep(0.1)
    assert served.model


@contextmanager
def printed() -> Iterator[io.StringIO]:
    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        yield output
