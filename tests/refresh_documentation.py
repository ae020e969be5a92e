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

import doctest
import io
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from features.catalogue import example_client
from tests import documented_tables
from tests.documented_project import Project, sandbox
from tests.documented_tables import line_of

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (
    "README.md",
    "docs/api.md",
    "docs/batch.md",
    "docs/gate.md",
    "docs/models.md",
    "docs/operations.md",
)

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


def _execute(match: re.Match[str], project: Project) -> str:
    kind = match.lastgroup
    if kind == "prose":
        answer = project.http(*_parsed(match["request"]))
        after = f"```http\n{match['request']}```\n{match['prose']}```http\n{_written(*answer)}```"
        return match[0] if _without_moments(after) == _without_moments(match[0]) else after
    if kind == "generated":
        name = match["generated"]
        return f"<!-- generated: {name} -->\n\n{documented_tables.BY_NAME[name](project)}"
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
    return "\n".join([head, line, *(line_of(answered(row)) for row in cells), ""])


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
