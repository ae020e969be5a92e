"""The log holds up nobody, is flooded by nobody, and tells no applicant's value, whoever writes one to it."""

import fcntl
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from api import line_writer, logs
from api.line_writer import LineWriter
from mlflow_model.bundle.bundles import Bundle
from tests import servers
from tests.live import Registry, children_of, policy_of, serving, workers_of
from tests.servers import JSON, ROOT, SocketDoor

pytest_plugins = ["tests.live_support"]

PAGE = 4_096


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The smallest pipe that there is: a page fills it."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PAGE)
    yield reader, writer
    for end in (reader, writer):
        with suppress(OSError):
            os.close(end)


def read_all(reader: int) -> bytes:
    """What has been written, until the last writer has closed the pipe."""
    with os.fdopen(reader, "rb") as opened:
        return opened.read()


def events(said: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.splitlines()]


# ---- Whoever reads the log stops, or goes


@contextmanager
def logging_to(pipe: int, environment: dict[str, str], *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """An API whose log goes into a pipe."""
    child = subprocess.Popen(
        [sys.executable, "api/app.py", *options],
        cwd=ROOT,
        env={**os.environ, **environment},
        stderr=pipe,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait(timeout=10)


@pytest.mark.slow
def test_a_reader_of_the_log_that_stops_stops_neither_answers_nor_new_workers_nor_the_end(
    documented_pickle: Path, tmp_path: Path, pipe: tuple[int, int]
) -> None:
    port = servers.free_port()
    environment = servers.alone(documented_pickle, tmp_path)
    with logging_to(pipe[1], environment, "--port", str(port), "--workers", "1") as child:
        door = SocketDoor(port, tmp_path / "nothing", child.pid)
        servers.ready(door)
        answered = [door.get("/health").status for _ in range(3 * PAGE // 100)]
        (former,) = workers_of(door)
        os.kill(former, signal.SIGKILL)
        servers.eventually(lambda: set(workers_of(door)) - {former} or None, "another worker")
        servers.ready(door)
        os.kill(child.pid, signal.SIGTERM)
        code = child.wait(timeout=servers.PATIENCE)

    assert set(answered) == {200}
    assert code == 0


@pytest.mark.slow
def test_a_reader_of_the_log_that_is_gone_is_no_problem_either(
    documented_pickle: Path, tmp_path: Path, pipe: tuple[int, int]
) -> None:
    port = servers.free_port()
    environment = servers.alone(documented_pickle, tmp_path)
    with logging_to(pipe[1], environment, "--port", str(port), "--workers", "1") as child:
        for end in pipe:
            os.close(end)
        door = SocketDoor(port, tmp_path / "nothing", child.pid)
        servers.ready(door)
        os.kill(child.pid, signal.SIGTERM)
        code = child.wait(timeout=servers.PATIENCE)

    assert code == 0


def notice(reason: str, count: int) -> bytes:
    return f"{count}: {reason}\n".encode()


def test_lines_that_find_no_room_are_counted_and_told_of_when_there_is_room_again(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_writer, "QUEUE_BYTES", 10 * PAGE)
    writer = LineWriter(pipe[1], notice)
    lines = [f"{number:0{PAGE // 2}}\n".encode() for number in range(100)]
    for line in lines:
        writer.put(line)
    heard: list[bytes] = []
    reading = threading.Thread(target=lambda: heard.append(read_all(pipe[0])))
    reading.start()
    writer.drain()
    os.close(pipe[1])
    reading.join()

    whole = heard[0].splitlines(keepends=True)
    (told,) = (line for line in whole if line.endswith(notice(line_writer.UNREAD, 0)[1:]))
    kept = [line for line in whole if line is not told]
    assert kept == lines[: len(kept)]
    assert int(told.split(b":")[0]) == len(lines) - len(kept) > 50


def test_an_end_does_not_wait_for_a_reader_that_has_stopped(pipe: tuple[int, int]) -> None:
    code = f"""
import logging
from api import logs
logs.configure()
for _ in range(100):
    logging.getLogger("scoring_client").info("x" * {PAGE})
raise SystemExit("a last sentence")
"""
    child = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stderr=pipe[1], timeout=20, check=False)

    assert child.returncode == 1


@pytest.mark.parametrize("format_", ["json", "text"])
def test_at_an_end_all_that_was_said_is_written_to_a_reader_that_reads(format_: str) -> None:
    """The last sentence of sys.exit included, and what is logged while the process ends."""
    code = """
import atexit, logging
atexit.register(lambda: log.info("while it ends"))
from api import logs
logs.configure()
log = logging.getLogger("scoring_client")
for number in range(3000):
    log.info("line %s", number)
raise SystemExit("a last sentence")
"""
    environment = {**os.environ, "LOG_FORMAT": format_}
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    said = ended.stderr.splitlines()
    assert len(said) == 3002
    assert "line 2999" in said[2999]
    assert said[3000] == "a last sentence"
    assert "while it ends" in said[3001]


def test_a_closed_or_full_standard_error_is_no_reason_to_fail() -> None:
    code = (
        "from api import logs; import logging; logs.configure(); logging.getLogger('scoring_client').info('')"
    )
    for redirected in ("2>&-", "2>/dev/full"):
        command = ["sh", "-c", f'exec "$0" -c "$1" {redirected}', sys.executable, code]
        assert subprocess.run(command, cwd=ROOT, timeout=20, check=False).returncode == 0


def test_lines_that_nobody_was_there_for_are_told_of_to_who_reads_next(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    descriptor = os.open(fifo, os.O_WRONLY)
    writer = LineWriter(descriptor, notice)
    os.close(reader)
    writer.put(b"lost\n")
    servers.eventually(lambda: writer._left_out or None, "the count")
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    writer.put(b"kept\n")
    writer.drain()
    os.close(descriptor)

    assert sorted(read_all(reader).splitlines(keepends=True)) == [notice(line_writer.UNREAD, 1), b"kept\n"]


def test_a_pipe_that_was_set_to_refuse_instead_of_wait_gets_every_line(
    pipe: tuple[int, int],
) -> None:
    os.set_blocking(pipe[1], False)
    writer = LineWriter(pipe[1], notice)
    lines = [f"{number:0{PAGE // 2}}\n".encode() for number in range(20)]
    for line in lines:
        writer.put(line)
    heard: list[bytes] = []
    reading = threading.Thread(target=lambda: heard.append(read_all(pipe[0])))
    reading.start()
    writer.drain()
    os.close(pipe[1])
    reading.join()

    assert heard == [b"".join(lines)]


def test_a_child_of_a_fork_writes_its_own_lines_and_only_those(pipe: tuple[int, int]) -> None:
    code = """
import logging, os, sys, warnings
from api import logs
logs.configure()
log = logging.getLogger("scoring_client")
log.info("before")
child = os.fork()
log.info("child" if child == 0 else "parent")
if child:
    os.waitpid(child, 0)
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=20, check=True)

    assert sorted(event["event"] for event in events(ended.stderr)) == ["before", "child", "parent"]


def test_a_line_of_a_child_that_does_not_end_comes_in_parts() -> None:
    said = io.BytesIO(b"one\n" + b"x" * (2 * logs.LONGEST_EVENT) + b"\nlast")

    assert [len(line) for line in logs.lines_of(said)] == [4, logs.LONGEST_EVENT, logs.LONGEST_EVENT, 1, 4]


# ---- What clients can cause


def test_a_flood_of_requests_is_counted_in_the_log_and_hides_none_of_the_operators_lines() -> None:
    code = f"""
import logging
from api import logs
logs.configure()
for _ in range({logs.BURST} + 500):
    logging.getLogger(logs.ACCESS).info("asked")
    logging.getLogger(logs.ERRORS).info("failed")
    logging.getLogger("scoring_client").info("for the operator")
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)

    said = [event["event"] for event in events(ended.stderr)]
    left_out = {event.split()[5]: int(event.split()[0]) for event in said if "left out" in event}
    assert said.count("for the operator") == logs.BURST + 500
    for event, logger in (("asked", logs.ACCESS), ("failed", logs.ERRORS)):
        assert logs.BURST <= said.count(event) < logs.BURST + 500
        assert said.count(event) + left_out[logger] == logs.BURST + 500


# ---- What other code says

SECRET = 987654.321

TALKATIVE = b"""
import ctypes, logging, os, threading, warnings

def tell(client):
    text = str(client)
    print(text)
    print(text, file=sys.stderr, flush=True)
    print(text, file=sys.__stderr__, flush=True)
    os.write(1, text.encode())
    os.write(2, text.encode())
    os.system(f"echo '{text}' >&2")
    ctypes.CDLL(None).puts(text.encode())
    ctypes.CDLL(None).fflush(None)
    for name in (None, "of.the.bundle", "scoring_client"):
        logging.getLogger(name).error(text)
    logging.info(text)
    warnings.warn(text)
    logging.basicConfig(force=True, level=0)
    logging.getLogger().error(text)
    def fail():
        raise ValueError(text)
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    class Lost:
        def __del__(self):
            fail()
    Lost()
    if client.get("DEBT_CREDIT_RATIO") == 0.125:
        fail()

def telling(decide):
    def told(self, client, *more):
        if client.get("AMT_CREDIT") == SECRET:
            tell(client)
        return decide(self, client, *more)
    return told

SECRET = 987654.321
Scorer.decide = telling(Scorer.decide)
os.write(2, b"at its import")
logging.getLogger().error("at its import")
"""


@pytest.mark.endurance
def test_what_a_bundle_says_of_a_client_reaches_no_log_and_is_counted(
    live: Registry, bundle: Bundle, documented_request: dict[str, float]
) -> None:
    live.add(policy_of(bundle, 0.3, more_code=TALKATIVE), alias="champion")
    live.add(policy_of(bundle, 0.4, more_code=TALKATIVE), alias="challenger")
    client = documented_request | {"AMT_CREDIT": SECRET}
    with serving(live, SHADOW_SHARE="1") as door:
        servers.eventually(
            lambda: children_of(door, "api.challenger.process") or None, "the challenger's process"
        )
        decided = door.predict(client)
        failed = door.predict(client | {"DEBT_CREDIT_RATIO": 0.125})
        batch = door.send("POST", "/predict/batch", json.dumps([client]).encode(), JSON)

        def counted() -> set[int] | None:
            """By a worker and by the challenger."""
            lines = [json.loads(line) for line in door.said.splitlines()]
            pids = {line["pid"] for line in lines if "messages of other code" in line["event"]}
            return pids if len(pids) == 2 else None

        servers.eventually(counted, "the number of messages")

    assert (decided.status, failed.status, batch.status) == (200, 500, 200)
    assert str(SECRET) not in door.said
    assert "at its import" not in door.said
    assert "ValueError at <scoring.py of bundle" in door.said
    assert failed.error.split()[-1].strip(")") in door.said


def test_messages_that_are_not_shown_are_not_kept_in_memory_either() -> None:
    code = """
import warnings
from api import logs
logs.configure(beside_bundles=True)
for number in range(100):
    warnings.warn(f"client {number}")
raise SystemExit(len(__warningregistry__) > 10)
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)

    (event,) = events(ended.stderr)
    assert event["event"].startswith("100 lines were left out: messages of other code")


@pytest.mark.parametrize("error", ["SystemExit", "ValueError", "KeyboardInterrupt"])
def test_a_process_that_a_bundles_code_ends_says_nothing_of_its_values(error: str) -> None:
    code = f"""
from api import logs
logs.configure(beside_bundles=True)
raise {error}("client {SECRET}")
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)

    assert ended.returncode != 0
    assert str(SECRET).encode() not in ended.stdout + ended.stderr
    assert len(events(ended.stderr)) == 1


def test_a_long_event_keeps_its_beginning_and_its_end() -> None:
    code = f"""
from api import logs
logs.configure()
logs._log.error("first " + "x" * {2 * logs.LONGEST_EVENT} + " last")
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)

    (event,) = events(ended.stderr)
    assert (event["event"][:6], event["event"][-5:]) == ("first ", " last")
    assert len(event["event"]) < logs.LONGEST_EVENT + 10


def test_a_terminal_is_not_moved_by_what_is_logged() -> None:
    code = r"from api import logs; logs.configure(); logs._log.error('a\x1b[2J\nb')"
    environment = {**os.environ, "LOG_FORMAT": "text"}
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)

    assert ended.stderr.rstrip().endswith(rb"ERROR a\x1b[2J\x0ab")


def test_an_error_is_told_of_by_its_type_and_a_bounded_number_of_places() -> None:
    def deeper(depth: int) -> None:
        if not depth:
            raise ValueError(SECRET)
        deeper(depth - 1)

    with pytest.raises(ValueError, match=str(SECRET)) as raised:
        deeper(500)
    told = logs.told(raised.value)

    assert told.startswith(f"ValueError at {__file__}:")
    assert str(SECRET) not in told
    assert told.count(" < ") == logs.MOST_PLACES


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_error_that_comes_with_a_line_is_told_of_without_its_values(form: str) -> None:
    code = f"""
from api import logs
logs.configure()
try:
    raise ValueError("client {SECRET}")
except ValueError:
    logs._log.exception("it failed")
"""
    environment = {**os.environ, "LOG_FORMAT": form}
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)

    assert b"it failed" in ended.stderr
    assert b"ValueError at <string>:5" in ended.stderr
    assert str(SECRET).encode() not in ended.stderr
