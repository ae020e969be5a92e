"""Who may ask, what is told of a request and of the model that answered, and what never reaches a log."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api.app import create_app
from api.tokens import parse
from mlflow_model.bundle.bundles import Bundle
from tests import servers
from tests.journal_support import receipt_of
from tests.servers import JSON, ROOT, Answer, Door, FlaskDoor, SocketDoor

pytest_plugins = ["tests.api_support"]


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], Path]:
    """A token for each role, and their file."""
    file = tmp_path_factory.mktemp("tokens") / "tokens"
    made = {role: servers.made_token(f"the-{role}", role) for role in ("score", "review", "audit")}
    file.write_text("# who may ask\n\n" + "".join(line for _, line in made.values()))
    return {role: token for role, (token, _) in made.items()}, file


@pytest.fixture(scope="module", params=["flask", "socket"])
def guarded(
    request: pytest.FixtureRequest,
    tokens: tuple[dict[str, str], Path],
    bundle: Bundle,
    documented_pickle: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Door]:
    """Both doors, with the tokens file."""
    variables = {"API_TOKENS_FILE": str(tokens[1])}
    if request.param == "flask":
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("API_TOKENS_FILE", str(tokens[1]))
            app = create_app(servers.serving(bundle.scorer()))
        yield FlaskDoor(app)
        return
    folder = tmp_path_factory.mktemp("guarded")
    environment = servers.alone(documented_pickle, folder) | variables
    with servers.api(environment, folder / "log") as door:
        servers.ready(door)
        yield door


def asked(door: Door, method: str, path: str, token: str | None, client: object = None) -> Answer:
    headers = dict(JSON) | ({} if token is None else {"Authorization": f"Bearer {token}"})
    return door.send(method, path, None if client is None else json.dumps(client).encode(), headers)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/predict", {"score", "review"}),
        ("POST", "/predict/batch", {"score"}),
        ("GET", "/metrics", {"audit"}),
        ("GET", "/nowhere", {"score", "review", "audit"}),
    ],
)
def test_a_role_opens_its_paths_alone(
    guarded: Door,
    tokens: tuple[dict[str, str], Path],
    documented_request: dict[str, float],
    method: str,
    path: str,
    allowed: set[str],
) -> None:
    client = {"/predict": documented_request, "/predict/batch": [documented_request]}.get(path)

    found = {role: asked(guarded, method, path, token, client) for role, token in tokens[0].items()}

    expected = 404 if path == "/nowhere" else 200
    assert {role: answer.status for role, answer in found.items()} == {
        role: expected if role in allowed else 403 for role in tokens[0]
    }
    for role in set(tokens[0]) - allowed:
        assert found[role].error == "Le rôle de ce jeton d’accès ne permet pas cette requête."


@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/metrics", "/nowhere", "/predict?x=1"])
@pytest.mark.parametrize("token", [None, "", "wrong", "é"], ids=["none", "empty", "wrong", "not ascii"])
def test_without_a_known_token_nothing_is_told(
    guarded: Door, path: str, token: str | None, documented_request: dict[str, float]
) -> None:
    answer = asked(guarded, "POST", path, token, documented_request)

    assert (answer.status, answer.headers["Www-Authenticate"]) == (401, "Bearer")
    assert answer.error == "Jeton d’accès absent ou inconnu (en-tête Authorization: Bearer)."
    assert "X-Model-Digest" not in answer.headers


@pytest.mark.slow
def test_without_a_known_token_no_body_is_waited_for(
    documented_pickle: Path, tokens: tuple[dict[str, str], Path], tmp_path: Path
) -> None:
    environment = servers.alone(documented_pickle, tmp_path) | {"API_TOKENS_FILE": str(tokens[1])}
    head = b"POST /predict/batch HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n"
    head += b"Content-Length: 9000000\r\n\r\n"
    with servers.api(environment, tmp_path / "log") as door:
        servers.ready(door)
        with socket.create_connection(("127.0.0.1", door.port), timeout=5) as connection:
            connection.sendall(head)
            status = connection.recv(100)

    assert status.startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("path", ["/", "/docs", "/health", "/openapi.json", "/ready"])
def test_what_tells_of_the_service_may_be_read_by_anybody(guarded: Door, path: str) -> None:
    assert guarded.get(path).status == 200


def test_the_page_to_try_requests_asks_for_a_token_where_one_is_needed(
    guarded: Door, socket_door: SocketDoor
) -> None:
    fields = [door.get("/docs").body.count(b'<input type="password"') for door in (guarded, socket_door)]

    assert fields == [2, 0]  # for /predict and for /explain


def test_a_changed_file_counts_without_a_restart(
    documented_pickle: Path, documented_request: dict[str, float], tmp_path: Path
) -> None:
    file = tmp_path / "tokens"
    file.write_text("")
    token, line = servers.made_token("late", "score")
    environment = servers.alone(documented_pickle, tmp_path) | {"API_TOKENS_FILE": str(file)}
    with servers.api(environment, tmp_path / "log") as door:
        servers.ready(door)
        before = asked(door, "POST", "/predict", token, documented_request).status
        file.write_text(line)

        def accepted() -> bool | None:
            return asked(door, "POST", "/predict", token, documented_request).status == 200 or None

        servers.eventually(accepted, "the new token")
        file.write_text("nonsense\n")
        servers.eventually(lambda: "line 1" in door.said or (accepted() and None), "a complaint")
        after = asked(door, "POST", "/predict", token, documented_request).status

    assert (before, after) == (401, 200)
    assert token not in door.said
    assert "API_TOKENS_FILE holds no token: nobody may ask for anything" in door.said


def ended(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "api/app.py", "--port", "0", *arguments],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org"])  # noqa: S104
def test_it_does_not_open_to_others_by_mistake(host: str) -> None:
    refused = ended("--host", host)

    assert refused.returncode == 1
    assert refused.stderr.startswith(f"--host {host} is open to others: set API_TOKENS_FILE")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("clerk " + "0" * 64 + " x\n", "line 1"),
        ("score zz x\n", "line 1"),
        ("score " + "0" * 64 + " " + "x" * 61 + "\n", "line 1: a name has 1 to 60 printable characters"),
        ("\nscore " + "0" * 64 + " a\x1b[2Jb\n", "line 2: a name has 1 to 60 printable characters"),
        (None, "cannot be read"),
    ],
    ids=["unknown role", "no hash", "long name", "unprintable name", "absent"],
)
def test_a_bad_tokens_file_is_one_line(tmp_path: Path, content: str | None, complaint: str) -> None:
    if content is not None:
        (tmp_path / "tokens").write_text(content)

    refused = ended(API_TOKENS_FILE=str(tmp_path / "tokens"))

    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert complaint in refused.stderr


def test_the_longest_name_of_a_token_fits_a_receipt(tmp_path: Path) -> None:
    longest = "\N{GRINNING FACE}" * 60

    (token,) = parse(f"score {'0' * 64} {longest}\n".encode())

    assert token.name == longest
    assert receipt_of(caller=token.name).entry()


@pytest.mark.parametrize("name", ["x" * 61, "a b", "a\x1bb", ""], ids=ascii)
def test_no_token_is_made_for_a_name_that_the_file_would_not_take(name: str) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "api.tokens", name, "score"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (made.returncode, made.stdout) == (2, "")
    assert made.stderr == "Refused: a name has 1 to 60 printable characters, and no spaces\n"


NO_KEYS = "names no readable public Ed25519 keys in PEM form"
BAD_PUBLIC_KEYS: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (lambda file: None, "cannot be read"),
    "no key": (lambda file: file.write_text("no key"), NO_KEYS),
    "half a key": (lambda file: file.write_text("-----BEGIN PUBLIC KEY-----\n"), NO_KEYS),
    "a pipe": (os.mkfifo, "must be a regular file of 256 KiB at the most"),
    "a folder": (Path.mkdir, "cannot be read"),
    "huge": (lambda file: file.write_bytes(bytes(2**20)), "must be a regular file of 256 KiB at the most"),
}


@pytest.mark.parametrize("kind", BAD_PUBLIC_KEYS)
def test_a_bad_public_key_is_one_line_and_no_service(tmp_path: Path, kind: str) -> None:
    make, complaint = BAD_PUBLIC_KEYS[kind]
    make(tmp_path / "key.pem")

    refused = ended(MODEL_PUBLIC_KEY=str(tmp_path / "key.pem"))

    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert refused.stderr == f"MODEL_PUBLIC_KEY {complaint}\n"


@pytest.mark.parametrize(
    ("variable", "value"),
    [("RELOAD_SECONDS", "soon"), ("RELOAD_SECONDS", "-1"), ("SHADOW_SHARE", "2"), ("SHADOW_SHARE", "nan")],
)
def test_a_setting_that_makes_no_sense_is_one_line(variable: str, value: str) -> None:
    refused = ended(**{variable: value})

    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert refused.stderr.startswith(f"{variable} must be")


# ---- Names of requests, and logs


@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/ready", "/nowhere"])
def test_a_request_keeps_its_id_and_gets_one_without(door: Door, path: str) -> None:
    given = door.send("POST", path, b"{}", JSON | {"X-Request-Id": "a-1.B_2"})
    harmful = door.send("POST", path, b"{}", JSON | {"X-Request-Id": "EXT_SOURCE_1=0.5 x"})
    first, second = (door.send("POST", path, b"{}", JSON) for _ in range(2))

    ids = [answer.headers["X-Request-Id"] for answer in (first, second, harmful)]
    assert given.headers["X-Request-Id"] == "a-1.B_2"
    assert len(set(ids)) == 3
    assert all(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]+", one) for one in ids)


def test_every_line_of_the_log_is_an_event_without_a_value_of_the_applicant(
    documented_pickle: Path, documented_request: dict[str, float], tmp_path: Path
) -> None:
    secret = 987654.321
    with servers.api(servers.alone(documented_pickle, tmp_path), tmp_path / "log") as door:
        servers.ready(door)
        door.predict(documented_request | {"AMT_CREDIT": secret})
        door.predict(documented_request | {"AMT_CREDIT": str(secret)})
        door.send("POST", f"/predict/batch?x={secret}", json.dumps([{"x": secret}]).encode(), JSON)
        door.send("GET", f"/{secret}", headers={"X-Request-Id": "abc"})

    events = [json.loads(line) for line in door.said.splitlines()]
    assert all({"time", "level", "event"} <= set(event) for event in events)
    assert str(secret) not in door.said
    assert [event["request_id"] for event in events if event.get("status") == 404] == ["abc"]


def test_a_person_at_a_terminal_reads_text(documented_pickle: Path, tmp_path: Path) -> None:
    environment = servers.alone(documented_pickle, tmp_path) | {"LOG_FORMAT": "text"}
    with servers.api(environment, tmp_path / "log") as door:
        first = door.said.splitlines()[0]

    assert first.endswith(
        f"INFO Scoring Client listens on {door.url} for POST /predict and GET /docs (process {door.pid})"
    )


def test_the_model_that_answered_is_named_by_both_doors(
    door: Door, documented_request: dict[str, float]
) -> None:
    answer, refusal = door.predict(documented_request), door.predict({})
    batch = door.send("POST", "/predict/batch", json.dumps([documented_request]).encode(), JSON)

    digest = door.get("/ready").content["digest"]
    assert [one.headers["X-Model-Digest"] for one in (answer, refusal, batch)] == [digest] * 3


@pytest.mark.slow
def test_a_socket_is_refused_nothing_by_the_guard_without_a_file(socket_door: SocketDoor) -> None:
    answer = socket_door.send("GET", "/metrics", headers={"Authorization": "Bearer whatever"})

    assert answer.status == 200
