"""The documentation, executed: its pages show what the project answers, and nothing else.

What is executed, in the order of the document, with a registry of its own:

- ```http with a request, then ```http with its answer (Flask's test client; /invocations is MLflow's own)
- ```console with `$ curl` or `$ python register.py` commands and what they print
- ```pycon with a Python session
- a table under `<!-- executed: requests -->`: each row changes the documented request as its second cell says
- a table under `<!-- executed: models -->`: each row sets variables and shows why no model is served
- a table under `<!-- generated: features -->`, `figures`, `metrics`, `ratios`, `forms` or `refusals`, written
  whole

Other fences are only shown. After a change of model or of sentences, `python -m tests.refresh_documentation`
rewrites what the documents show; until then the tests say that they are behind.
"""

from mlflow_model import command

if __name__ == "__main__":
    command.begin("pytest", "yaml", "mlflow", "flask", "lightgbm", "sqlalchemy")

import contextlib
import doctest
import functools
import io
import json
import os
import pickle
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import yaml

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
from api.web import openapi
from api.web.routes import flask_app
from features.catalogue import example_client
from features.identities import IDENTITIES
from journal import ids, record, store
from journal.record import Entry
from journal.writer import Writer
from mlflow_model.errors import LoadingFailed, ModelUnavailable
from tests import model_zoo
from tests.looking import look_once

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (
    "README.md",
    "docs/api.md",
    "docs/batch.md",
    "docs/gate.md",
    "docs/models.md",
    "docs/operations.md",
)
CARD = ROOT / "models" / "lgbm_final_model.md"

EXAMPLE = re.compile(
    r"""
      ^```http\n(?P<request>[A-Z]+\ /.*?)^```\n(?P<prose>(?:(?!^```).)*)^```http\nHTTP/.*?^```$
    | ^```console\n(?P<console>.*?)^```$
    | ^```pycon\n(?P<pycon>.*?)^```$
    | ^<!--\ executed:\ requests\ -->\n\n(?P<requests>(?:\|[^\n]*\n)+)
    | ^<!--\ executed:\ models\ -->\n\n(?P<models>(?:\|[^\n]*\n)+)
    | ^<!--\ generated:\ (?P<generated>\w+)\ -->\n\n(?:\|[^\n]*\n)+
    """,
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
_BATCH = "$ python -m batch "  # in a session that tests/test_batch_score.py executes
# What differs each time: moments, and the numbers of reviews.
_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d(?:\.\d{6}Z)?)?|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)


def refreshed(document: str) -> str:
    """The document with every answer in it made anew."""
    with sandbox() as project:
        return EXAMPLE.sub(lambda match: _execute(match, project), document)


def _execute(match: re.Match[str], project: "Project") -> str:
    kind = match.lastgroup
    if kind == "prose":
        answer = project.http(*_parsed(match["request"]))
        after = f"```http\n{match['request']}```\n{match['prose']}```http\n{_written(*answer)}```"
        return match[0] if _without_moments(after) == _without_moments(match[0]) else after
    if kind == "generated":
        return f"<!-- generated: {match['generated']} -->\n\n{_TABLES[match['generated']](project)}"
    executors: dict[str | None, Callable[[str, Project], str]] = {
        "console": _console,
        "pycon": _python_session,
        "requests": _request_rows,
        "models": _model_rows,
    }
    before = match[str(kind)]
    if _BATCH in before:
        return match[0]
    after = executors[kind](before, project)
    return (
        match[0] if _without_moments(after) == _without_moments(before) else match[0].replace(before, after)
    )


def _without_moments(text: str) -> str:
    return _MOMENT.sub("<moment>", text)


# ---- The project, with a registry of its own ---------------------------------------------------------------


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
            for number, scores in enumerate(_EXTERNAL_SCORES[1:]):
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
        with _printed() as output, contextlib.ExitStack() as stack:
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
def _printed() -> Iterator[io.StringIO]:
    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        yield output


# ---- Requests and answers ----------------------------------------------------------------------------------


def _parsed(request: str) -> tuple[str, str, dict[str, str], bytes]:
    head, _, body = request.partition("\n\n")
    line, *headers = head.strip().split("\n")
    method, path, *_ = line.split(" ")
    return method, path, dict(header.split(": ", 1) for header in headers), body.encode()


def _written(status: int, headers: Mapping[str, str], body: str) -> str:
    shown = [f"{name}: {headers[name]}" for name in ("Content-Type", "Allow") if name in headers]
    return "\n".join([f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *shown, "", _indented(body), ""])


def _indented(body: str) -> str:
    """JSON of several keys on as many lines. No digit is lost: Python reads and writes doubles exactly."""
    if body[:1] not in ("{", "["):
        return body.replace("\r\n", "\n").rstrip("\n")  # CSV
    content = json.loads(body)
    return _json(content) if list(content) in (["error"], ["status"]) else _json(content, indent=2)


def _json(content: object, indent: int | None = None) -> str:
    return json.dumps(content, ensure_ascii=False, indent=indent)


def _console(text: str, project: Project) -> str:
    return "".join(f"$ {command}\n{_run(command, project)}" for command in _commands(text))


def _commands(text: str) -> Iterator[str]:
    """The commands of a session. One ends where its quotes do; what follows it is its output."""
    command = ""
    for line in text.splitlines():
        if line.startswith("$ "):
            command = line.removeprefix("$ ")
        elif command:
            command = f"{command}\n{line}"
        if command and _complete(command):
            yield command
            command = ""


def _complete(command: str) -> bool:
    try:
        return bool(shlex.split(command))
    except ValueError:
        return False


def _run(command: str, project: Project) -> str:
    program, *arguments = shlex.split(command)
    if program == "curl":
        _, _, body = project.http(*_curl(arguments))
        return body.rstrip("\n") + "\n"
    if [program, *arguments[:1]] == ["python", "register.py"]:
        return project.register(arguments[1:])
    raise ValueError(f"the documentation can execute curl and python register.py, not {program}")


def _curl(arguments: list[str]) -> tuple[str, str, dict[str, str], bytes]:
    words = iter(arguments)
    path, headers, body = "/", {}, None
    for word in words:
        if word == "-H":
            name, value = next(words).split(": ", 1)
            headers[name] = value
        elif word == "-d":
            body = next(words).encode()
        elif word.startswith("http://"):
            path = "/" + word.removeprefix("http://").partition("/")[2]
    return "GET" if body is None else "POST", path, headers, body or b""


def _python_session(text: str, project: Project) -> str:
    """Each statement again, then what it prints. The session names the registry itself, as a reader would."""
    assert project.served.model
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "MLFLOW_TRACKING_URI", os.environ["MLFLOW_TRACKING_URI"]
        )  # undone: MLflow sets it for good
        return "".join(
            _statement(example.source, names) for example in doctest.DocTestParser().get_examples(text)
        )


def _statement(source: str, names: dict[str, Any]) -> str:
    with redirect_stdout(io.StringIO()) as output:
        exec(compile(source, "<documentation>", "single"), names)  # noqa: S102 - our own documentation
    first, *more = source.splitlines()
    return "\n".join([f">>> {first}", *(f"... {line}" for line in more), output.getvalue()])


# ---- Tables ------------------------------------------------------------------------------------------------


def _request_rows(table: str, project: Project) -> str:
    def answered(cells: list[str]) -> list[str]:
        status, _, body = project.http(*_changed(_spans(cells[1]), cells[1], project))
        content = json.loads(body)
        return [*cells[:2], str(status), f"`{content.get('error') or content['prediction']}`"]

    return _rewritten(table, answered)


def _model_rows(table: str, project: Project) -> str:
    assert project.served.model

    def answered(cells: list[str]) -> list[str]:
        variables = dict(span.split("=", 1) for span in _spans(cells[1]) if "=" in span)
        return [*cells[:2], f"`{project.problem(variables)}`"]

    return _rewritten(table, answered)


def _rewritten(table: str, answered: Callable[[list[str]], list[str]]) -> str:
    head, line, *rows = table.splitlines()
    cells = ([cell.strip() for cell in row.strip("| ").split(" | ")] for row in rows)
    return "\n".join([head, line, *(_row(answered(row)) for row in cells), ""])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _spans(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def _changed(spans: list[str], cell: str, project: Project) -> tuple[str, str, dict[str, str], bytes]:
    """The documented request, changed.

    `"KEY": …` takes the place of that pair, a bare KEY is left out, `Name: value` is a header (left out if
    empty), `METHOD /path` the request line, `0x…` the bytes of the body, anything else its text, repeated
    where the cell says « N fois ».
    """
    client = example_client(project.served.model.scorer.features)
    method, path, headers, body = "POST", "/predict", {"Content-Type": "application/json"}, b""
    pairs = {name: f'"{name}": {_json(value)}' for name, value in client.items()}
    for span in spans:
        if re.match(r"[A-Z]+ /", span):
            method, path = span.split(" ")
        elif span in pairs:
            del pairs[span]
        elif pair := re.match(r'"(\w+)": ', span):
            pairs[pair[1]] = span
        elif header := re.match(r"([A-Z][\w-]+):\s*(.*)", span):
            headers[header[1]] = header[2]
        else:
            body = bytes.fromhex(span[2:]) if span.startswith("0x") else span.encode() * _times(cell)
    sent = {name: value for name, value in headers.items() if value}
    return method, path, sent, body or f"{{{', '.join(pairs.values())}}}".encode()


def _times(cell: str) -> int:
    times = re.search(r"([\d\s]+) fois", cell)
    return int(re.sub(r"\s", "", times[1])) if times else 1


def _features(project: Project) -> str:
    model = project.served.model
    client = openapi.document(model.scorer, model.version)["components"]["schemas"]["Client"]
    rows = [["Variable", "Sens", "Unité", "Valeurs usuelles", "`null`"], ["---"] * 5]
    for name, feature in client["properties"].items():
        low, high = map(_french, feature["x-usual"])
        null = "accepté" if "null" in feature["type"] else "refusé"
        formula = f" ; `{feature['x-formula']}`".replace("|", r"\|") if name in IDENTITIES else ""
        meaning = feature["description"].rstrip(".") + formula + "."
        rows.append([f"`{name}`", meaning, feature["x-unit"], f"{low} à {high}", null])
    return "".join(_row([_spaced(cell) for cell in row]) + "\n" for row in rows)


def _french(number: float) -> str:
    return f"{number:,}".removesuffix(".0").replace(",", "\u00a0").replace(".", ",")


def _spaced(text: str) -> str:
    return re.sub(r" (?=[;:?!»])|(?<=«) ", "\u00a0", text)


def _figures(_: Project) -> str:
    """The model card's own figures."""
    card = yaml.safe_load(CARD.read_text(encoding="utf-8").split("---\n", 2)[1])
    metrics, policy = card["metrics"], card["policy"]

    def interval(name: str) -> str:
        return f"{metrics[name]:.4f} [{metrics[f'{name}_low']:.4f}, {metrics[f'{name}_high']:.4f}]"

    rows = [
        ["on the test set", "value [95 %]"],
        ["---", "---"],
        ["clients", f"{metrics['test_clients']:,.0f}"],
        ["of whom defaulted", f"{metrics['test_default_rate']:.2%}"],
        ["AUC", interval("auc")],
        ["AUC of the true probabilities", f"{metrics['auc_of_true_probabilities']:.4f}"],
        ["calibration error (ECE)", interval("ece")],
        ["cost per client", interval("cost_per_client")],
        ["approved", interval("approval_rate")],
        ["in the grey zone", interval("grey_rate")],
        ["threshold ± margin", f"{policy['threshold']:.4f} ± {policy['margin']:g}"],
    ]
    return "".join(_row(row) + "\n" for row in rows)


def _reasons(project: Project) -> str:
    """What POST /explain says of the client of the documented request."""
    client = example_client(project.served.model.scorer.features)
    body, headers = json.dumps(client).encode(), {"Content-Type": "application/json"}
    _, _, answer = project.http("POST", "/explain", headers, body)
    found = json.loads(answer)
    said = [
        *(("pour", one["sentence"]) for one in found["reasons"]["for"]),
        *(("contre", one["sentence"]) for one in found["reasons"]["against"]),
        *((f"`{one['code']}`", one["sentence"]) for one in found["warnings"]),
    ]
    rows = [["Où", "Ce que dit `/explain` du client documenté"], ["---", "---"], *map(list, said)]
    return "".join(_row(row) + "\n" for row in rows)


_HANGS_TOGETHER = {
    "AMT_CREDIT": 450_000,
    "AMT_ANNUITY": 22_000,
    "AMT_GOODS_PRICE": 380_000,
    "CREDIT_TERM": 20.4545,
    "CREDIT_GOODS_RATIO": 1.1842,
    "ANNUITY_INCOME_PERCENT": 0.16923,
    "ANNUITY_BIRTH_RATIO": 669.17,
}
_EXTERNAL_SCORES = ((0.4, 0.1, 0.1), (0.4, 0.3, 0.3), (0.45, 0.42, 0.38), (0.5, 0.5, 0.45))


_PAST = "019abf2e-5c40-7000-8000-00000000000{}"


def _documented_receipt(receipts: Receipts, model: Model, scores: Sequence[float]) -> Entry:
    """Of the client whose figures hang together, with these external scores."""
    of_client = {f"EXT_SOURCE_{number}": score for number, score in enumerate(scores, 1)}
    client = example_client(model.scorer.features) | _HANGS_TOGETHER | of_client
    asked = Asked("r-1", "agence", "dossier-12")
    receipt = receipts.of(model, client, model.scorer.decide(client), asked)
    assert receipt.model is not None
    return receipt._replace(model=replace(receipt.model, code="c45999dc83fd"))  # of one day's code


def _offers(project: Project) -> str:
    """What POST /explain offers to clients whose figures hang together."""
    rows = [["Scores externes", "`prediction`", "Ce que dit `/explain`"], ["---", "---", "---"]]
    example = example_client(project.served.model.scorer.features) | _HANGS_TOGETHER
    for scores in _EXTERNAL_SCORES:
        of_client = {f"EXT_SOURCE_{number}": score for number, score in enumerate(scores, 1)}
        body = json.dumps(example | of_client).encode()
        _, _, answer = project.http("POST", "/explain", {"Content-Type": "application/json"}, body)
        found = json.loads(answer)
        offers = found["offers"]
        said = [offers["sentence"], *(one["sentence"] for one in [*offers["found"], offers["worse"]] if one)]
        rows.append(
            [
                " · ".join(map(str, scores)).replace(".", ","),
                found["decision"]["prediction"],
                "<br>".join(said),
            ]
        )
    return "".join(_row(row) + "\n" for row in rows)


def _metrics(project: Project) -> str:
    """Every metric of the service, in its own words."""
    _, _, page = project.http("GET", "/metrics", {}, b"")
    found = re.findall(r"^# HELP (\w+) (.+)$", page, re.MULTILINE)
    rows = [["metric", "meaning"], ["---", "---"], *([f"`{name}`", meaning] for name, meaning in found)]
    return "".join(_row(row) + "\n" for row in rows)


def _result(name: str, number: int, _: Project) -> str:
    """A table of a section of the results."""
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    section = results.partition(f"<!-- {name} -->")[2]
    return re.findall(r"(?:^\|[^\n]*\n)+", section, re.MULTILINE)[number]


def _forms(project: Project) -> str:
    """The model files that register. Their scores are compared elsewhere: tests/test_model_files.py."""
    rows = [["file", "written by"], ["---", "---"]]
    for name, specimen in model_zoo.FORMS.items():
        model_zoo.bundle_of(specimen, project.folder)
        rows.append([name, f"`{specimen.written}`"])
    return "".join(_row(row) + "\n" for row in rows)


def _refusals(project: Project) -> str:
    rows = [["file", "written by", "sentence"], ["---", "---", "---"]]
    for name, specimen in model_zoo.REFUSED.items():
        try:
            model_zoo.bundle_of(specimen, project.folder)
        except ModelUnavailable as problem:
            sentence = str(problem).removeprefix(str(LoadingFailed("")))
            rows.append([name, f"`{specimen.written}`", sentence])
    return "".join(_row(row) + "\n" for row in rows)


_TABLES: dict[str, Callable[[Project], str]] = {
    "features": _features,
    "figures": _figures,
    "metrics": _metrics,
    "offers": _offers,
    "reasons": _reasons,
    "ratios": functools.partial(_result, "server", 0),
    "books": functools.partial(_result, "batch_score", 0),
    "power": functools.partial(_result, "gate", 0),
    "measured": functools.partial(_result, "gate", 1),
    "others": functools.partial(_result, "gate", 2),
    "forms": _forms,
    "refusals": _refusals,
}


def main() -> None:
    """Rewrite the documents and say which ones have changed."""
    for name in DOCUMENTS:
        path = ROOT / name
        before = path.read_text(encoding="utf-8")
        after = refreshed(before)
        path.write_text(after, encoding="utf-8")
        sys.stdout.write(f"{name}: {'as before' if after == before else 'rewritten'}\n")


if __name__ == "__main__":
    command.run(main)
