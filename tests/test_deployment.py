"""The service among real neighbours: nginx with TLS, Prometheus, MLflow's server on PostgreSQL."""

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest

from mlflow_model.errors import BodyTooLarge, RequestRefused
from tests import servers
from tests.command_line import register_py
from tests.journal_support import written_keys
from tests.neighbours import postgresql, program
from tests.servers import JSON, ROOT, SocketDoor

pytest_plugins = ["tests.api_support"]


# ---- nginx


@contextmanager
def nginx(folder: Path, port: int, api_port: int) -> Iterator[ssl.SSLContext]:
    """The documented configuration with its placeholders filled in. Gives what trusts its certificate."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    make += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(make, check=True, capture_output=True)
    site = (ROOT / "deployment" / "nginx.conf").read_text()
    for placeholder, value in {
        "127.0.0.1:5000": f"127.0.0.1:{api_port}",
        "443 ssl": f"127.0.0.1:{port} ssl",
        "api.example.org;": "localhost;",
        "/etc/ssl/certs/api.example.org.pem": str(certificate),
        "/etc/ssl/private/api.example.org.key": str(key),
    }.items():
        assert placeholder in site
        site = site.replace(placeholder, value)
    (folder / "site.conf").write_text(site)
    places = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = " ".join(f"{place}_temp_path {folder / place};" for place in places)
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; user root;\n"
        f"events {{}} http {{ access_log off; {paths} include {folder}/site.conf; }}\n"
    )
    command = [program("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    with servers.process(command, {}, folder / "nginx.log"):
        yield ssl.create_default_context(cafile=str(certificate))


def over_tls(
    port: int,
    trust: ssl.SSLContext,
    method: str,
    path: str,
    body: bytes = b"",
    more: Mapping[str, str] | None = None,
) -> tuple[int, dict[str, str], bytes]:
    with closing(HTTPSConnection("localhost", port, timeout=20, context=trust)) as connection:
        connection.request(method, path, body, {**JSON, **(more or {})})
        response = connection.getresponse()
        headers = {name.title(): value for name, value in response.headers.items()}
        return response.status, headers, response.read()


def test_nginx_adds_tls_and_changes_no_answer(
    socket_door: SocketDoor, tmp_path: Path, documented_request: dict[str, float]
) -> None:
    port, body = servers.free_port(), json.dumps(documented_request).encode()
    with nginx(tmp_path, port, socket_door.port) as trust:

        def attempt() -> tuple[int, dict[str, str], bytes] | None:
            try:
                return over_tls(port, trust, "POST", "/predict", body)
            except ConnectionError:
                return None

        status, headers, content = servers.eventually(attempt, "nginx")
        too_large = over_tls(port, trust, "POST", "/predict", b" " * 70_000)
        metrics = over_tls(port, trust, "GET", "/metrics")
        named = over_tls(port, trust, "GET", "/ready", more={"X-Request-Id": "mine-1"})
        page = over_tls(port, trust, "GET", "/")

    direct = socket_door.send("POST", "/predict", body, JSON)
    assert (status, content) == (200, direct.body)
    assert headers["X-Model-Digest"] == direct.headers["X-Model-Digest"]
    assert (too_large[0], list(json.loads(too_large[2]))) == (413, ["error"])
    assert metrics[0] == 200
    assert named[1]["X-Request-Id"] == "mine-1"
    assert f"https://localhost:{port}/predict" in page[2].decode()


def test_what_nginx_refuses_itself_has_the_contract_s_form(tmp_path: Path) -> None:
    port, nobody = servers.free_port(), servers.free_port()
    with nginx(tmp_path, port, nobody) as trust:

        def attempt() -> tuple[int, dict[str, str], bytes] | None:
            try:
                return over_tls(port, trust, "POST", "/predict", b"{}")
            except ConnectionError:
                return None

        found = [
            servers.eventually(attempt, "nginx"),
            over_tls(port, trust, "POST", "/predict/batch", b"", {"Content-Length": str(18 * 2**20)}),
            over_tls(port, trust, "GET", "/" + "x" * 10_000),
        ]

    answers = [(status, headers["Content-Type"], body.decode()) for status, headers, body in found]
    assert answers == [
        (503, "application/json", '{"error": "Le service ne répond pas : réessayez dans un instant."}'),
        (413, "application/json", f'{{"error": "{BodyTooLarge(16 * 2**20)}"}}'),
        (400, "application/json", f'{{"error": "{RequestRefused(414)}"}}'),
    ]
    assert found[0][1]["Retry-After"] == "1"


# ---- Prometheus


@contextmanager
def prometheus(folder: Path, api_port: int) -> Iterator[int]:
    """A real one with the documented configuration, asking every second."""
    port = servers.free_port()
    for name in ("prometheus.yml", "rules.yml"):
        text = (ROOT / "deployment" / "monitoring" / name).read_text()
        text = text.replace("127.0.0.1:5000", f"127.0.0.1:{api_port}").replace("15s", "1s")
        (folder / name).write_text(text)
    command = [program("prometheus"), f"--config.file={folder / 'prometheus.yml'}"]
    command += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]
    with servers.process(command, {}, folder / "prometheus.log"):
        yield port


def asked(port: int, expression: str) -> Any:
    """What Prometheus answers to a query."""
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{query}", timeout=10) as response:
        return json.load(response)


def test_prometheus_reads_the_metrics_and_every_expression_of_ours(
    socket_door: SocketDoor, tmp_path: Path, documented_request: dict[str, float]
) -> None:
    dashboard = json.loads((ROOT / "deployment" / "monitoring" / "grafana.json").read_text(encoding="utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    socket_door.predict(documented_request)

    with prometheus(tmp_path, socket_door.port) as port:

        def attempt() -> list[Any] | None:
            try:
                found = asked(port, 'scoring_requests_total{path="/predict",status="200"}')
            except OSError:
                return None
            return found["data"]["result"] or None

        (sample,) = servers.eventually(attempt, "a scraped sample")
        statuses = {asked(port, expression)["status"] for expression in expressions}
        url = f"http://127.0.0.1:{port}/api/v1/rules"
        with urllib.request.urlopen(url, timeout=10) as response:
            groups = json.load(response)["data"]["groups"]

    assert float(sample["value"][1]) >= 1
    assert statuses == {"success"}
    assert len(groups[0]["rules"]) == 14


@pytest.mark.slow
def test_the_dashboard_and_the_rules_ask_for_metrics_that_exist(
    several_versions: Path, tmp_path: Path
) -> None:
    private, _ = written_keys(tmp_path)
    environment = servers.registry_in(several_versions) | {
        "JOURNAL_URL": f"sqlite:///{tmp_path / 'journal.db'}",
        "JOURNAL_CHECKPOINTS": str(tmp_path),
        "JOURNAL_KEY": str(private),
    }
    with servers.api(environment, tmp_path / "log") as door:
        servers.ready(door)
        servers.eventually(lambda: door.get("/ready").content["confirmed"] or None, "the registry's answer")
        page = door.get("/metrics").body.decode()
    exist = set(re.findall(r"^# TYPE (\w+)", page, re.MULTILINE))
    asked_for = set()
    for name in ("grafana.json", "rules.yml"):
        text = (ROOT / "deployment" / "monitoring" / name).read_text(encoding="utf-8")
        asked_for |= set(re.findall(r"\bscoring_\w+", text))

    known = {re.sub(r"_(bucket|count|sum)$", "", name) for name in asked_for}
    assert known <= exist


@pytest.mark.parametrize(
    ("screened", "warned", "code", "is_raised"),
    [
        (20, 2, "out_of_range", True),
        (20, 0.5, "out_of_range", False),
        (20, 2, "near_a_bound", False),
        (2, 2, "out_of_range", False),
    ],
    ids=["a tenth", "a fortieth", "the policy's own doing", "of few clients"],
)
def test_an_alarm_is_raised_where_more_than_a_twentieth_of_the_clients_have_a_warning(
    tmp_path: Path, screened: int, warned: float, code: str, is_raised: bool
) -> None:
    """Both are counted a minute, for two hours."""
    labels = {"code": code, "feature": "DAYS_BIRTH"}
    raised = "More than 5 % of the screened clients have a warning: out_of_range of DAYS_BIRTH."
    series = {
        "scoring_decisions_screened_total": screened,
        f'scoring_warnings_total{{code="{code}",feature="DAYS_BIRTH"}}': warned,
    }
    alarms = [{"exp_labels": labels, "exp_annotations": {"summary": raised}}] if is_raised else []

    judged = judged_by_promtool(
        tmp_path,
        {name: f"0+{each}x120" for name, each in series.items()},
        {"eval_time": "2h", "alertname": "ScoringWarnings", "exp_alerts": alarms},
    )

    assert judged.returncode == 0, judged.stderr


def judged_by_promtool(
    folder: Path, series: Mapping[str, str], expected: Mapping[str, Any]
) -> subprocess.CompletedProcess[str]:
    """Our rules on series of a value a minute. Exit code 0: the alarm is as expected."""
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [expected],
    }
    file, rules = folder / "test.json", ROOT / "deployment" / "monitoring" / "rules.yml"
    file.write_text(json.dumps({"rule_files": [str(rules)], "tests": [test]}))
    command = [program("promtool"), "test", "rules", str(file)]
    return subprocess.run(command, capture_output=True, text=True)


AT_PREDICT = {"path": "/predict"}
UNANSWERED_AT_PREDICT = 'scoring_decisions_unanswered_total{path="/predict"}'
UNWRITABLE = "The journal cannot be written: all decisions are refused with 503. The log says why."
UNANSWERED = "Decisions at /predict were computed and not answered: their receipts were not written in time."
OLD = "The journal's last checkpoint is three intervals old, or there is none. The log says why."
SLOW = "One group of receipts in a hundred at /predict takes more than 0.5 s to the disk."


def signed_at(second: int, every: int) -> dict[str, str]:
    """For an hour the same last checkpoint."""
    return {
        "scoring_last_checkpoint_timestamp_seconds": f"{second}x60",
        "scoring_checkpoint_interval_seconds": f"{every}x60",
    }


def commits(within_half_a_second: int) -> dict[str, str]:
    """For half an hour 1,000 groups of receipts a minute, all of them within a second."""
    counts = {"0.5": within_half_a_second, "1.0": 1000, "+Inf": 1000}
    name = "scoring_receipt_commit_seconds_bucket"
    return {f'{name}{{path="/predict",le="{bound}"}}': f"0+{each}x30" for bound, each in counts.items()}


@pytest.mark.parametrize(
    ("alarm", "series", "minute", "raised"),
    [
        ("JournalNotWritable", {"scoring_journal_writable": "1x5 0x5"}, 7, ({}, UNWRITABLE)),
        ("JournalNotWritable", {"scoring_journal_writable": "1x5 0x5"}, 6, None),
        ("JournalNotWritable", {"scoring_journal_writable": "1x5 0 1x5"}, 8, None),
        ("JournalNotWritable", {}, 8, None),
        ("DecisionsUnanswered", {UNANSWERED_AT_PREDICT: "0x5 3x15"}, 7, (AT_PREDICT, UNANSWERED)),
        ("DecisionsUnanswered", {UNANSWERED_AT_PREDICT: "0x5 3x15"}, 12, None),
        ("ReceiptsSlow", commits(within_half_a_second=985), 20, (AT_PREDICT, SLOW)),
        ("ReceiptsSlow", commits(within_half_a_second=985), 9, None),
        ("ReceiptsSlow", commits(within_half_a_second=995), 20, None),
        ("CheckpointOld", signed_at(600, every=600), 46, ({}, OLD)),
        ("CheckpointOld", signed_at(600, every=600), 44, None),
        ("CheckpointOld", signed_at(600, every=1200), 46, None),
        ("CheckpointOld", {}, 46, None),
    ],
    ids=[
        "not writable for a minute",
        "not writable since a moment ago",
        "writable again",
        "no journal",
        "decisions unanswered",
        "decisions unanswered five minutes ago",
        "slow for ten minutes",
        "slow since eight minutes",
        "slow for one in two hundred",
        "the last checkpoint half an hour ago and more",
        "the last checkpoint half an hour ago",
        "the last checkpoint half an hour ago where they come every twenty minutes",
        "no checkpoints",
    ],
)
def test_an_alarm_is_raised_where_receipts_do_not_come_to_the_disk_in_time(
    tmp_path: Path, alarm: str, series: dict[str, str], minute: int, raised: tuple[dict[str, str], str] | None
) -> None:
    alarms = [{"exp_labels": raised[0], "exp_annotations": {"summary": raised[1]}}] if raised else []

    judged = judged_by_promtool(
        tmp_path,
        series,
        {"eval_time": f"{minute}m", "alertname": f"Scoring{alarm}", "exp_alerts": alarms},
    )

    assert judged.returncode == 0, judged.stderr


# ---- MLflow's server on PostgreSQL


class Cutting:
    """A proxy before a registry that, where it is told to, ends an answer after so many bytes."""

    def __init__(self, port: int) -> None:
        self.limit: int | None = None
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                caller, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=[caller], daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        with (
            caller,
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self._target)) as server,
        ):
            threading.Thread(target=_forward, args=[caller, server], daemon=True).start()
            passed = 0
            while piece := server.recv(4096):
                passed += len(piece)
                if self.limit is not None and passed > self.limit:
                    break
                caller.sendall(piece)
            caller.shutdown(socket.SHUT_RDWR)


def _forward(caller: socket.socket, server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := caller.recv(4096):
            server.sendall(piece)


@pytest.mark.endurance
def test_postgresql_behind_an_mlflow_server_is_a_registry_that_may_hang_and_be_killed(
    documented_pickle: Path,
    documented_request: dict[str, float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port, pickle = servers.free_port(), ("--pickle", str(documented_pickle))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    serving = {"MODEL_CACHE": str(tmp_path / "cache"), "RELOAD_SECONDS": "0.5"}
    serving |= {"MLFLOW_HTTP_REQUEST_TIMEOUT": "1"}
    with postgresql() as store, contextlib.ExitStack() as stack:
        registry = stack.enter_context(servers.registry_server(store, tmp_path, port))
        proxy = stack.enter_context(closing(Cutting(port)))
        serving |= {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{proxy.port}"}
        first = register_py(*pickle)
        register_py(*pickle, "--threshold", "0.5", "--alias", "candidate")
        door = stack.enter_context(servers.api(serving, tmp_path / "log"))
        assert servers.ready(door).content["version"] == "1"
        promoted = register_py("promote", "2", "--force", "--why", "test")
        serves(door, "2")

        os.killpg(registry.pid, signal.SIGSTOP)  # accepts, and never answers
        doubts(door, "registre injoignable")
        while_it_hangs = door.predict(documented_request)
        os.killpg(registry.pid, signal.SIGCONT)
        rolled_back = register_py("rollback")
        serves(door, "1")

        os.killpg(registry.pid, signal.SIGKILL)
        registry.wait()
        doubts(door, "registre injoignable")
        while_it_is_away = door.predict(documented_request)
        stack.enter_context(servers.registry_server(store, tmp_path, port))
        listed = register_py("list")
        proxy.limit = 20_000
        register_py(*pickle, "--margin", "0.05", "--alias", "champion")
        doubts(door, "models:/scoring-client/3 : registre injoignable")
        while_it_is_cut = door.predict(documented_request)
        proxy.limit = None
        serves(door, "3")

    assert [done.returncode for done in (first, promoted, rolled_back, listed)] == [0] * 4
    assert "scoring-client version 1 registered; champion points at it" in first.stderr
    assert "champion of scoring-client points at version 1 again" in rolled_back.stderr
    moves = re.findall("registration|promotion|rollback", listed.stdout)
    assert moves == ["rollback", "promotion", "registration"]
    met = (while_it_hangs, while_it_is_away, while_it_is_cut)
    assert [answer.status for answer in met] == [200] * 3
    assert [answer.headers["X-Model-Version"] for answer in met] == ["2", "1", "1"]
    assert any((tmp_path / "artifacts").rglob("model.txt"))


def doubts(door: SocketDoor, part: str) -> None:
    servers.eventually(lambda: part in (door.get("/ready").content["doubt"] or "") or None, f"doubt: {part}")


def serves(door: SocketDoor, version: str) -> None:
    servers.eventually(lambda: door.get("/ready").content["version"] == version or None, f"version {version}")
