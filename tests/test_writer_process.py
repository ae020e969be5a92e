"""The process that writes the journal of a service, as those who decide meet it."""

import logging
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from api.recording import client
from api.recording import keeper as keeping
from api.recording.keeper import Keeper
from api.recording.wire import Outgoing
from journal import ids
from journal.record import Kind
from tests import servers
from tests.journal_support import INTO_FORM_0003, changed, journal_at, receipt_of
from tests.test_recording import events_in

STARTING = 30.0  # seconds


@pytest.fixture
def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keeper]:
    journal_at(tmp_path, monkeypatch)
    found = Keeper(tmp_path)
    client.append(found.address, [receipt_of().entry()], STARTING)
    yield found
    found.stop()


def test_who_hangs_up_before_the_answer_harms_nobody(
    keeper: Keeper, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    others = []
    with caplog.at_level(logging.INFO, "scoring_client"):
        for _ in range(20):
            hang_up_at_once(keeper.address)
            others.append(receipt_of().entry())
            client.append(keeper.address, others[-1:], STARTING)
    keeper.stop()

    written = {one.id for one in events_in(tmp_path, Kind.RECEIPT)}
    assert {one.id for one in others} <= written
    assert "ended" not in caplog.text
    assert len(events_in(tmp_path, Kind.START)) == 1


def hang_up_at_once(address: Path) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(address))
        connection.sendall(Outgoing().message(1, [receipt_of().entry()]))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_a_writer_to_whom_nobody_listens_any_more_writes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal_at(tmp_path, monkeypatch)
    address = tmp_path / "writer"
    ends = os.pipe()
    os.set_blocking(ends[1], False)
    with suppress(BlockingIOError):
        while True:
            os.write(ends[1], bytes(4096))  # signs of life, which nobody has read
    os.set_blocking(ends[1], True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()
        command = [sys.executable, "-m", "api.recording.writer_process", str(listener.fileno())]
        writer = subprocess.Popen(
            command, cwd=servers.ROOT, stdout=ends[1], stderr=subprocess.DEVNULL, pass_fds=[listener.fileno()]
        )
        try:
            client.append(address, [receipt_of().entry()], STARTING)
        finally:
            writer.kill()
            writer.wait()
            os.close(ends[0])
            os.close(ends[1])

    assert len(events_in(tmp_path, Kind.RECEIPT)) == 1


MIGRATING_UNTIL_THE_FILE_IS_THERE = """
import sys, time
from pathlib import Path
from api.recording import writer_process
from journal import forms
migrate = forms.migrate
def migrate_at_last(connection, **more):
    print("migrating", file=sys.stderr, flush=True)
    while not Path(sys.argv[2]).exists():
        time.sleep(0.05)
    migrate(connection, **more)
forms.migrate = migrate_at_last
writer_process.main()
"""


def test_a_writer_gives_signs_of_life_while_it_brings_an_older_journal_to_the_newest_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(journal_at(tmp_path, monkeypatch), *INTO_FORM_0003)
    address, enough = tmp_path / "writer", tmp_path / "enough"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()
        command = [sys.executable, "-c", MIGRATING_UNTIL_THE_FILE_IS_THERE, str(listener.fileno())]
        writer = subprocess.Popen(
            [*command, str(enough)],
            cwd=servers.ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[listener.fileno()],
        )
        assert writer.stdout is not None
        assert writer.stderr is not None
        try:
            assert writer.stderr.readline() == b"migrating\n"
            for _ in range(3):
                assert sign_of_life(writer)
            enough.touch()
            client.append(address, [receipt_of().entry()], STARTING)
        finally:
            writer.kill()
            writer.communicate()

    assert len(events_in(tmp_path, Kind.RECEIPT)) == 1


def sign_of_life(process: subprocess.Popen[bytes]) -> bytes:
    """The next one; nothing where its keeper would lose patience."""
    assert process.stdout is not None
    is_there, _, _ = select.select([process.stdout], [], [], STARTING)
    return os.read(process.stdout.fileno(), 4096) if is_there else b""


def test_a_group_of_a_batch_does_not_keep_small_ones_from_the_disk(keeper: Keeper, tmp_path: Path) -> None:
    large = [receipt_of().entry() for _ in range(3_000)]

    client.append(keeper.address, large, STARTING)
    keeper.stop()

    found = [ids.written(one.id) for one in events_in(tmp_path, Kind.RECEIPT)][1:]
    assert found == [ids.written(one.id) for one in large]


def test_another_writer_takes_the_place_of_one_that_is_told_ever_more(keeper: Keeper, tmp_path: Path) -> None:
    told, groups, before = [], list[float](), len(events_in(tmp_path, Kind.END))
    until = time.monotonic() + STARTING

    while len(events_in(tmp_path, Kind.END)) < before + 2 and time.monotonic() < until:
        if len(events_in(tmp_path, Kind.END)) == len(groups):  # each time one has ended
            keeper.renew()
            groups.append(time.monotonic())
        some = [receipt_of().entry() for _ in range(1_200)]
        client.append(keeper.address, some)
        told += some

    found = [one.id for one in events_in(tmp_path, Kind.RECEIPT)][1:]
    assert found == [one.id for one in told]  # all of them, once, in their order
    assert len(events_in(tmp_path, Kind.START)) == 3


def test_a_writer_goes_on_where_no_other_can_start(
    keeper: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "scoring_client"), monkeypatch.context() as without:
        without.setattr(sys, "executable", "/bin/false")
        keeper.renew()
        servers.eventually(lambda: "the former one goes on" in caplog.text or None, "the failure")
    client.append(keeper.address, [receipt_of().entry()])

    assert len(events_in(tmp_path, Kind.START)) == 1
    assert len(events_in(tmp_path, Kind.RECEIPT)) == 2


def test_a_writer_that_can_write_goes_on_where_a_new_one_cannot(
    keeper: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keeping, "_STARTING_SECONDS", 3.0)
    with caplog.at_level(logging.ERROR, "scoring_client"), monkeypatch.context() as elsewhere:
        elsewhere.setenv("JOURNAL_URL", f"sqlite:///{tmp_path}/nowhere/journal.db")
        keeper.renew()
        servers.eventually(lambda: "the former one goes on" in caplog.text or None, "the failure")
    client.append(keeper.address, [receipt_of().entry()])

    assert len(events_in(tmp_path, Kind.START)) == 1
    assert len(events_in(tmp_path, Kind.RECEIPT)) == 2
