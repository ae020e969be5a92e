"""gunicorn's workers each get the model and follow it, also if it makes the application before it forks."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import servers
from tests.live import Registry, children_of
from tests.servers import BIN, ROOT, SocketDoor
from tests.test_recording import receipts_in

pytest_plugins = ["tests.live_support"]


@contextmanager
def gunicorn(application: str, environment: dict[str, str], log: Path, *options: str) -> Iterator[SocketDoor]:
    port = servers.free_port()
    command = [str(BIN / "gunicorn"), application, "--bind", f"127.0.0.1:{port}", "--workers", "2", *options]
    with servers.process(command, environment, log) as child:
        yield SocketDoor(port, log, child.pid)


def answers(door: SocketDoor) -> set[tuple[str, int, str | None]]:
    """Which process answers /ready with what status, and with which version: of 20 requests."""
    found = [door.get("/ready") for _ in range(20)]
    return {
        (one.headers["X-Request-Id"].partition("-")[0], one.status, one.content.get("version"))
        for one in found
    }


def both_are_ready(door: SocketDoor, version: str | None) -> bool | None:
    try:
        found = answers(door)
    except ConnectionError:  # it does not listen yet
        return None
    return (len(found) == 2 and {answer[1:] for answer in found} == {(200, version)}) or None


@pytest.mark.slow
def test_both_workers_that_gunicorn_forks_get_the_model_and_follow_the_alias(live: Registry) -> None:
    with gunicorn("api.app:app", live.environment, live.folder / "log", "--preload") as door:
        servers.eventually(lambda: both_are_ready(door, "1"), "both workers with version 1")
        live.point("2")
        servers.eventually(lambda: both_are_ready(door, "2"), "both workers with version 2")


@pytest.mark.endurance
def test_the_factory_of_a_preloading_gunicorn_gets_the_model_too(
    documented_pickle: Path, tmp_path: Path
) -> None:
    environment = servers.alone(documented_pickle, tmp_path)
    with gunicorn("api.app:create_app()", environment, tmp_path / "log", "--preload") as door:
        servers.eventually(lambda: both_are_ready(door, None), "both workers with the pickle")
        at_the_master = children_of(door, "api.delivery.loader")

    assert at_the_master == []


@pytest.mark.slow
def test_each_worker_of_gunicorn_records_what_it_decides(
    documented_pickle: Path, documented_request: dict[str, float], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    environment = servers.alone(documented_pickle, tmp_path) | {"JOURNAL_URL": url}
    with gunicorn("api.app:app", environment, tmp_path / "log", "--preload") as door:
        servers.eventually(lambda: both_are_ready(door, None), "both workers with the pickle")
        answers = [door.predict(documented_request) for _ in range(20)]

    assert {one.status for one in answers} == {200}
    assert len({one.headers["X-Request-Id"].partition("-")[0] for one in answers}) == 2
    written = {one.headers["X-Decision-Id"] for one in answers}
    assert receipts_in(tmp_path).keys() == written
    assert len(written) == 20


def test_a_process_that_never_forks_has_its_model_before_anybody_asks(
    documented_pickle: Path, tmp_path: Path
) -> None:
    code = """
import time
from api import app
from api.delivery import served
told = []
served.ServedModel.hear = lambda self, news: told.append(news) or True
app.create_app()
deadline = time.monotonic() + 30
while not told and time.monotonic() < deadline:
    time.sleep(0.01)
print(len(told) > 0)
"""
    environment = servers.alone(documented_pickle, tmp_path)
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)

    assert shown.stdout == "True\n"
