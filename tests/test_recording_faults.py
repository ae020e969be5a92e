"""A journal that cannot be written: refusals within a second, no unrecorded answer, recovery without help."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests import servers
from tests.faults import Clock, filled, only_read, silence_at, small_disk, stopped, without_growth
from tests.live import line_with
from tests.neighbours import Cluster, cluster, wait_for
from tests.recording_support import (
    WITHIN,
    Load,
    held_against,
    is_whole,
    locked,
    make_journal,
    recording,
    sqlite_in,
    writer_of,
)
from tests.servers import SocketDoor

Client = dict[str, Any]
SOME_SECONDS, LOCKED_SECONDS = 8.0, 30.0


def is_refused(load: Load, door: SocketDoor, sentence: str, seconds: float = SOME_SECONDS) -> None:
    """Everybody for so long, and the log says why, once."""
    load.refuses()
    began = time.monotonic()
    time.sleep(seconds)
    assert {one.status for one in load.since(began)} == {503}
    line_with(door, sentence)


def is_made_good(load: Load, door: SocketDoor) -> None:
    load.answers_again()
    line_with(door, "the journal is written again")
    assert load.longest < WITHIN
    assert load.statuses.keys() <= {200, 503}
    assert load.lost == 0


# ---- A file


@contextmanager
def _limited(door: SocketDoor, _: Path) -> Iterator[None]:
    with without_growth(writer_of(door), 16_384):
        yield


@contextmanager
def _filled(_: SocketDoor, folder: Path) -> Iterator[None]:
    with filled(folder):
        yield


@contextmanager
def _locked(_: SocketDoor, folder: Path) -> Iterator[None]:
    with locked(sqlite_in(folder)):
        yield


Fault = Callable[[SocketDoor, Path], AbstractContextManager[None]]


@pytest.mark.parametrize(
    ("fault", "is_on_a_small_disk", "sentence", "seconds"),
    [
        pytest.param(
            *(_filled, True, "no room is left for the journal", SOME_SECONDS),
            id="full disk",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *(_limited, False, "the disk refuses to read or write the journal", SOME_SECONDS),
            id="limit of size",
            marks=pytest.mark.endurance,
        ),
        pytest.param(
            *(_locked, False, "the journal is locked by another process", LOCKED_SECONDS),
            id="lock",
            marks=pytest.mark.endurance,
        ),
    ],
)
def test_a_file_that_cannot_be_written_costs_refusals_and_no_receipt(
    documented_pickle: Path,
    documented_request: Client,
    tmp_path: Path,
    fault: Fault,
    is_on_a_small_disk: bool,
    sentence: str,
    seconds: float,
) -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(small_disk(tmp_path, 8)) if is_on_a_small_disk else tmp_path
        url = sqlite_in(folder)
        with (
            recording(documented_pickle, tmp_path, url, workers=2) as door,
            Load(door.port, documented_request).going_on() as load,
        ):
            load.answers_again()
            with fault(door, folder):
                is_refused(load, door, sentence, seconds)
                told = door.said.count("the journal cannot be written")
            is_made_good(load, door)

        held_against(url, load)
        assert is_whole(folder / "journal.db")
        assert told <= 3


@pytest.mark.endurance
def test_a_service_whose_journal_is_read_only_when_it_starts_decides_as_soon_as_it_can_write(
    documented_pickle: Path, documented_request: Client, tmp_path: Path
) -> None:
    with small_disk(tmp_path, 8) as disk:
        url = sqlite_in(disk)
        make_journal(url)
        with ExitStack() as reading_only:
            reading_only.enter_context(only_read(disk))
            with (
                recording(documented_pickle, tmp_path, url) as door,
                Load(door.port, documented_request).going_on() as load,
            ):
                is_refused(load, door, "the journal's file or folder cannot be opened")
                reading_only.close()
                is_made_good(load, door)

        held_against(url, load)


@pytest.mark.slow
def test_a_clock_that_jumps_by_years_costs_no_answer_and_doubles_no_id(
    documented_pickle: Path, documented_request: Client, tmp_path: Path
) -> None:
    url, clock, ten_years = sqlite_in(tmp_path), Clock(tmp_path), 10 * 365 * 86_400
    with (
        recording(documented_pickle, tmp_path, url, more=clock.environment) as door,
        Load(door.port, documented_request).going_on() as load,
    ):
        for seconds in (0, ten_years, -ten_years, 0):
            clock.jump(seconds)
            load.answers_again(300)

    held_against(url, load)
    assert load.statuses.keys() == {200}
    assert len({one[:8] for one in load.given.values()}) >= 2  # or the clock did not jump


# ---- A server


@pytest.fixture(scope="module")
def made() -> Iterator[Cluster]:
    with cluster() as found:
        yield found


@contextmanager
def _read_only(server_url: str, _: int) -> Iterator[None]:
    engine = sa.create_engine(server_url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND "
    others += "backend_type = 'client backend'"
    with closing(engine.connect()) as connection:
        connection.exec_driver_sql("ALTER DATABASE postgres SET default_transaction_read_only = on")
        connection.exec_driver_sql(others)
        yield
        connection.exec_driver_sql("SET default_transaction_read_only = off")
        connection.exec_driver_sql("ALTER DATABASE postgres RESET default_transaction_read_only")
        connection.exec_driver_sql(others)


@contextmanager
def _locked_there(url: str, _: int) -> Iterator[None]:
    with locked(url):
        yield


@contextmanager
def _stopped(_: str, pid: int) -> Iterator[None]:
    with stopped(pid, *servers.descendants(pid)):
        yield


@pytest.mark.endurance
@pytest.mark.parametrize(
    ("fault", "sentence", "seconds"),
    [
        (_read_only, "the journal is read-only here", SOME_SECONDS),
        (_locked_there, "the journal is locked by another process", LOCKED_SECONDS),
        (_stopped, "the journal's database does not answer as it should", 2 * SOME_SECONDS),
    ],
    ids=["read-only", "lock", "stopped"],
)
def test_a_database_that_cannot_be_written_costs_refusals_and_no_receipt(
    made: Cluster,
    documented_pickle: Path,
    documented_request: Client,
    tmp_path: Path,
    fault: Callable[[str, int], AbstractContextManager[None]],
    sentence: str,
    seconds: float,
) -> None:
    with made.running() as server:
        wait_for(made.url)
        make_journal(made.url)
        with recording(documented_pickle, tmp_path, made.url, workers=2) as door:
            name = f"r-{sentence[:20]}".replace(" ", "-")  # the journal is that of the test before
            with Load(door.port, documented_request, name=name).going_on() as load:
                load.answers_again()
                with fault(made.url, server.pid):
                    is_refused(load, door, sentence, seconds)
                is_made_good(load, door)

        held_against(made.url, load)


@pytest.mark.endurance
def test_a_server_that_accepts_and_says_nothing_costs_refusals_until_a_database_is_there(
    made: Cluster, documented_pickle: Path, documented_request: Client, tmp_path: Path
) -> None:
    with made.running():
        wait_for(made.url)
        make_journal(made.url)
    with ExitStack() as silent:
        silent.enter_context(silence_at(made.port))
        with (
            recording(documented_pickle, tmp_path, made.url) as door,
            Load(door.port, documented_request, name="silent").going_on() as load,
        ):
            is_refused(load, door, "the journal's database does not answer as it should")
            silent.close()
            with made.running():
                is_made_good(load, door)
                load.answers_again()
                door_said = json.dumps(door.said)
        with made.running():
            wait_for(made.url)
            held_against(made.url, load)
    assert "Traceback" not in door_said
