"""The journal's database: made once, opened by who understands it, written by many, for its owner alone."""

import contextlib
import dataclasses
import math
import multiprocessing
import os
import sqlite3
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from journal import events, ids, listing, reading, schema, store, subtrees, tree
from journal.__main__ import main
from journal.errors import Damaged, JournalError, NoJournal, OtherSchema, Twice, Unavailable
from journal.listing import Wanted
from journal.record import Kind
from journal.writer import Writer
from tests.journal_support import INTO_FORM_0003, MODEL, changed, receipt_of, receipts, rows, write, writer

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where JOURNAL_URL says that the journal is; there is none yet."""
    monkeypatch.setenv("JOURNAL_URL", f"sqlite:///{tmp_path}/journal.db")
    return tmp_path / "journal.db"


@pytest.fixture
def journal(file: Path) -> Path:
    store.make()[0].close()
    return file


# ---- Where it is


def test_the_default_journal_is_the_repositorys_own_whatever_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JOURNAL_URL", raising=False)
    monkeypatch.chdir(tmp_path)

    assert store.address().database == str(ROOT / "journal.db")


def test_a_relative_path_is_that_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JOURNAL_URL", "sqlite:///here.db")

    assert store.address().database == str(tmp_path.resolve() / "here.db")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("off", "JOURNAL_URL=off: nothing is recorded"),
        ("no url", "JOURNAL_URL is no database's URL"),
        ("sqlite://", "a journal in memory would be lost"),
        ("sqlite:///:memory:", "a journal in memory would be lost"),
        ("mysql://host/name", "must name a database of SQLite or PostgreSQL"),
        ("sqlite:///file::memory:?uri=true", "must be sqlite:///FILE, without options"),
        ("sqlite:///journal.db?mode=memory&uri=true", "must be sqlite:///FILE, without options"),
        ("sqlite+aiosqlite:///journal.db", "must name no driver but psycopg, of PostgreSQL"),
        ("postgresql+pg8000://host/name", "must name no driver but psycopg, of PostgreSQL"),
        ("postgresql+psycopg2://host/name", "must name no driver but psycopg, of PostgreSQL"),
        (
            "sqlite:////nowhere/at/all/journal.db",
            "there is no journal /nowhere/at/all/journal.db: nor is its folder",
        ),
        ("postgresql+psycopg://nobody@127.0.0.1:1/none", "does not answer as it should"),
    ],
)
def test_a_journal_that_cannot_be_is_refused_in_one_sentence(
    url: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_URL", url)

    with pytest.raises(JournalError, match=sentence):
        store.opened()


def test_the_driver_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.setenv("JOURNAL_URL", "postgresql+psycopg://host/name")

    with pytest.raises(JournalError, match="needs the driver psycopg, which is not installed"):
        store.opened()


def test_off_is_said_and_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_URL", "off")
    assert store.is_off()
    monkeypatch.setenv("JOURNAL_URL", "")
    assert not store.is_off()


# ---- Its form


def test_the_migrations_make_the_tables_that_the_code_reads(journal: Path) -> None:
    with closing(store.opened()) as opened, opened.reading() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": schema.VERSION_TABLE})
        assert compare_metadata(context, schema.metadata) == []


def test_the_newest_migration_is_the_form_that_the_code_expects() -> None:
    assert ScriptDirectory(str(ROOT / "journal" / "migrations")).get_current_head() == schema.REVISION


def test_a_journal_is_made_once_and_keeps_its_name(journal: Path) -> None:
    before = rows(journal, "SELECT * FROM journal")

    again, is_new = store.make()
    again.close()

    assert not is_new
    assert rows(journal, "SELECT * FROM journal") == before


@pytest.mark.parametrize(
    ("revision", "sentence"),
    [
        ("'0003'", "the older form 0003: python -m journal init brings it to 0004"),
        ("'9999'", "the newer form 9999, and this code knows 0004: update the code"),
    ],
)
def test_another_form_of_the_journal_is_one_clear_sentence(
    revision: str, sentence: str, journal: Path
) -> None:
    changed(journal, f"UPDATE journal_version SET version_num = {revision}")  # noqa: S608 - our own text

    with pytest.raises(OtherSchema, match=sentence):
        store.opened()


def test_a_journal_of_the_first_form_is_brought_to_the_newest_with_all_that_it_holds(journal: Path) -> None:
    group = receipts(300)
    write(group)
    with writer() as one:
        one.append([events.Review(decision=group[7].id, outcome="accept", reviewer="anne", reason="papers")])
    before = rows(journal, "SELECT * FROM record")
    changed(
        journal,
        *INTO_FORM_0003,
        *(f"DROP INDEX record_{name}" for name in ("by_time", "uncertain", "by_subject")),
        "CREATE INDEX record_by_subject ON record (subject) WHERE subject IS NOT NULL",
        "CREATE INDEX record_uncertain ON record (position) WHERE label = 1",
        "UPDATE journal_version SET version_num = '0001'",
    )

    opened, is_changed = store.make()
    with closing(opened), opened.reading() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": schema.VERSION_TABLE})
        differences = compare_metadata(context, schema.metadata)
        columns = {one["name"]: one["column_names"] for one in sa.inspect(connection).get_indexes("record")}

    assert (is_changed, differences) == (True, [])
    assert columns["record_by_time"] == ["time", "position", "kind", "label", "model"]
    assert columns["record_open"] == ["time", "position"]
    assert rows(journal, "SELECT * FROM record") == before


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (Wanted(), "record_by_time"),
        (Wanted(label="risky", version="3"), "record_by_time"),
        (Wanted(label="grey"), "record_by_time"),
        (Wanted(is_open=True, since=1), "record_open"),
        (Wanted(is_reviewed=True, label="grey"), "record_reviewed"),
    ],
    ids=["all", "risky", "grey", "open", "reviewed"],
)
def test_decisions_are_found_by_an_index_in_their_order(journal: Path, wanted: Wanted, index: str) -> None:
    write(receipts(300))
    asked: list[tuple[str, Any]] = []
    with closing(store.opened()) as opened, opened.reading() as connection:
        sa.event.listen(opened._engine, "before_cursor_execute", lambda *said: asked.append(said[2:4]))
        listing.places(connection, wanted, 10)
        statement, parameters = next(one for one in asked if "ORDER BY record.time DESC" in one[0])
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]

    assert index in plan[0]
    assert not any("TEMP B-TREE" in step for step in plan)


def test_a_writer_that_waited_for_a_migration_writes_nothing_of_the_former_form(journal: Path) -> None:
    with writer() as one:
        one.append(receipts(1))
        changed(journal, "UPDATE journal_version SET version_num = '0005'")

        with pytest.raises(OtherSchema, match="has got the form 0005 meanwhile"):
            one.append(receipts(1))
        changed(journal, "UPDATE journal_version SET version_num = '0004'")

    assert rows(journal, "SELECT count(*) FROM record WHERE kind = 1") == [(1,)]


def test_marks_that_an_older_writer_has_left_out_are_found_and_mended(
    journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    group = receipts(3)
    write(group)
    with writer() as one:
        one.append([events.Review(decision=group[0].id, outcome="accept", reviewer="anne", reason="papers")])
    changed(journal, "UPDATE record SET is_reviewed = 1 - is_reviewed WHERE kind = 1 AND position < 3")

    before = main(["verify"])
    found = capsys.readouterr().err
    main(["init"])
    said = capsys.readouterr().err

    assert (before, main(["verify"])) == (3, 0)
    assert "is not marked as reviewed, and a review tells of it: " in found
    assert "is marked as reviewed, and no review tells of it: " in found
    assert "2 marks of reviews were mended" in said


def test_indexes_that_are_missing_or_others_are_made_again_unless_two_records_are_one(
    journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(receipts(3))
    changed(
        journal,
        "DROP INDEX record_by_id",
        "DROP INDEX record_open",
        "CREATE INDEX record_open ON record (id)",
        "DROP INDEX record_by_sequence",
        "CREATE INDEX record_by_sequence ON record (writer, sequence)",
        "UPDATE record SET id = (SELECT id FROM record WHERE position = 1) WHERE position = 2",
    )

    refused, doubt = main(["init"]), main(["verify"])
    changed(journal, "UPDATE record SET id = x'01' WHERE position = 2")
    mended = main(["init"])
    said = capsys.readouterr().err

    assert (refused, doubt, mended) == (3, 3, 0)
    assert "two records are the same by record_by_id: python -m journal verify names them" in said
    assert "3 indexes were made again" in said
    main(["verify"])
    assert "index" not in capsys.readouterr().err


def test_a_journal_of_a_newer_form_is_not_made_again(journal: Path) -> None:
    changed(journal, "UPDATE journal_version SET version_num = '9999'")

    with pytest.raises(OtherSchema, match="the newer form 9999"):
        store.make()


def test_a_database_of_something_else_is_no_journal(file: Path) -> None:
    changed(file, "CREATE TABLE experiments (name TEXT)")

    with pytest.raises(NoJournal, match="holds no journal"):
        store.opened()


def test_a_file_that_is_no_database_is_called_damaged(file: Path) -> None:
    file.write_bytes(b"no database at all" * 100)

    with pytest.raises(Damaged, match="the file is no database"):
        store.opened()


def test_the_files_are_for_their_owner_alone_whatever_the_umask(file: Path) -> None:
    before = os.umask(0)
    try:
        store.make()[0].close()
        with writer() as one:
            one.append([receipt_of()])
            modes = {part.name: stat.S_IMODE(part.stat().st_mode) for part in file.parent.iterdir()}
    finally:
        os.umask(before)

    assert modes == {"journal.db": 0o600, "journal.db-wal": 0o600, "journal.db-shm": 0o600}


def test_a_copy_that_everybody_may_read_is_made_its_owners_again(journal: Path) -> None:
    journal.chmod(0o644)

    store.opened().close()

    assert stat.S_IMODE(journal.stat().st_mode) == 0o600


def test_a_commit_waits_for_the_disk(journal: Path) -> None:
    with closing(store.opened()) as opened, opened.writing() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "secure_delete")
        }

    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1}


# ---- Writing


def test_a_group_is_in_the_journal_in_its_order_between_start_and_end(journal: Path) -> None:
    group = receipts(3)

    write(group)

    with closing(store.opened()) as opened, opened.reading() as connection:
        (found,) = reading.records(connection)
    assert [one.kind for one in found] == [Kind.START, *[Kind.RECEIPT] * 3, Kind.END]
    assert [(one.position, one.writer, one.sequence) for one in found] == [(n, 0, n) for n in range(5)]
    assert [one.id for one in found[1:4]] == [one.id for one in group]


def test_a_receipt_is_read_as_it_was_written(journal: Path) -> None:
    one = receipt_of(0.1 + 0.2, caller="agence", client_reference="dossier 7", call_id=ids.new())

    write([one])

    with closing(store.opened()) as opened, opened.reading() as connection:
        found = reading.find(connection, one.id)
    assert found is not None
    assert found.model == MODEL
    assert found.time == one.time
    assert found.kept.outputs == tuple(one.outputs)
    assert found.kept.call_id == one.call_id
    assert found.client is not None
    assert struct.pack("3d", *found.client.inputs) == struct.pack("3d", *one.inputs)
    assert math.isnan(found.client.inputs[1])
    assert (found.client.request_id, found.client.client_reference) == ("r-1", "dossier 7")


def test_an_id_that_is_not_there_is_not_found(journal: Path) -> None:
    with closing(store.opened()) as opened, opened.reading() as connection:
        assert reading.find(connection, ids.new()) is None


def test_a_start_names_the_journal_and_the_program_that_writes(journal: Path) -> None:
    write(receipts(1))

    with closing(store.opened()) as opened, opened.reading() as connection:
        (start,) = [one.event for one in reading.of_kind(connection, Kind.START)]
    assert isinstance(start, events.Start)
    assert (start.process, start.code) == ("test", "0")
    assert [(start.journal,)] == rows(journal, "SELECT origin FROM journal")
    assert start.c_library


def test_a_model_is_stored_once_for_all_writers(journal: Path) -> None:
    write(receipts(3), receipts(3))
    write(receipts(3))

    assert rows(journal, "SELECT number, description FROM model") == [(0, MODEL.description)]
    assert rows(journal, "SELECT DISTINCT model FROM record WHERE kind = 1") == [(0,)]


def test_the_same_receipt_twice_is_refused_with_its_whole_group(journal: Path) -> None:
    one, another = receipts(2)
    with writer() as two_times:
        two_times.append([one])
        with pytest.raises(Twice, match="in the journal already"):
            two_times.append([another, one])
        two_times.append([another])

    assert rows(journal, "SELECT sequence FROM record ORDER BY position") == [(0,), (1,), (2,), (3,)]


@pytest.mark.parametrize(
    "change",
    ["UPDATE journal SET size = 2, frontier = zeroblob(32)", "UPDATE model SET number = 1, digest = x'00'"],
    ids=["a position", "a model's number"],
)
def test_what_is_taken_already_beside_an_id_is_damage_and_no_receipt_twice(
    change: str, journal: Path
) -> None:
    write(receipts(1))
    before = rows(journal, "SELECT id FROM record ORDER BY position")
    changed(journal, change)

    with closing(store.opened()) as opened, pytest.raises(Damaged, match="tables do not fit each other"):
        Writer(opened, "test", "0").append(receipts(1))

    assert rows(journal, "SELECT id FROM record ORDER BY position") == before


@pytest.mark.parametrize(
    "change",
    ["frontier = x'00'", "frontier = zeroblob(40)", "frontier = NULL", "size = 'x'"],
)
def test_a_damaged_tree_is_told_as_damage(change: str, journal: Path) -> None:
    write(receipts(1))
    changed(
        journal,
        "CREATE TABLE loose AS SELECT * FROM journal",
        "DROP TABLE journal",
        "ALTER TABLE loose RENAME TO journal",
        f"UPDATE journal SET {change}",  # noqa: S608 - our own text
    )

    with (
        closing(store.opened()) as opened,
        pytest.raises(Damaged, match="python -m journal verify says more"),
    ):
        Writer(opened, "test", "0").append(receipts(1))


def test_a_journal_without_its_row_is_told_as_damage(journal: Path) -> None:
    write(receipts(1))
    changed(journal, "DELETE FROM journal")

    with (
        closing(store.opened()) as opened,
        pytest.raises(Damaged, match="python -m journal verify says more"),
    ):
        Writer(opened, "test", "0").append(receipts(1))


class LosingTheAnswer(store.Journal):
    """Commits, and says that it did not: a connection may break between the two."""

    @contextlib.contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        with super().writing() as connection:
            yield connection
        raise Unavailable("lost")


def test_a_writer_goes_on_after_a_commit_whose_answer_was_lost(journal: Path) -> None:
    losing = LosingTheAnswer(store.address(), 1)
    with closing(store.opened()) as opened, closing(losing), Writer(opened, "test", "0") as one:
        one.append(receipts(1))
        one._journal = losing
        with pytest.raises(Unavailable, match="lost"):
            one.append(receipts(2))
        one._journal = opened
        one.append(receipts(3))

    assert _are_in_order(rows(journal, "SELECT position, writer, sequence FROM record ORDER BY position"))


def test_nothing_is_written_for_an_empty_group_or_a_writer_without_one(journal: Path) -> None:
    with writer() as one:
        one.append([])

    assert rows(journal, "SELECT * FROM record") == []


@pytest.mark.parametrize(
    ("most", "more"),
    [(450, {}), (490, {"caller": "agence", "client_reference": "dossier-12345678"})],
    ids=["without a reference", "with one"],
)
def test_a_receipt_takes_few_bytes(journal: Path, most: int, more: dict[str, Any]) -> None:
    names = tuple(f"FEATURE_{number}" for number in range(17))
    wide = dataclasses.replace(MODEL, features=names)
    many = [
        receipt_of(model=wide, inputs=[0.1] * 17, request_id=f"a1b2c3d4-{number:08d}", **more)
        for number in range(5_000)
    ]
    before = journal.stat().st_size

    write(many)

    assert (journal.stat().st_size - before) / len(many) <= most


def test_the_stored_tree_is_that_of_the_commitments(journal: Path) -> None:
    write(*[receipts(400) for _ in range(5)])

    commitments = [one for (one,) in rows(journal, "SELECT commitment FROM record ORDER BY position")]
    whole = tree.Frontier()
    completed = whole.extend(commitments)
    assert rows(journal, "SELECT level, number, root FROM subtree ORDER BY level, number") == completed
    assert rows(journal, "SELECT size, frontier FROM journal") == [(2002, b"".join(whole.roots))]
    with closing(store.opened()) as opened, opened.reading() as connection:
        assert tree.root(2002, subtrees.of(connection)) == whole.root()
        path = tree.inclusion(777, 2002, subtrees.of(connection))
    assert tree.is_included(commitments[777], 777, 2002, path, whole.root())


# ---- Many writers, and trouble


def _write_in_turn(groups: int) -> None:
    with writer() as one:
        for _ in range(groups):
            one.append(receipts(3))


def _are_in_order(found: list[tuple[int, int, int]]) -> bool:
    """Whether positions and the sequences of each writer count from 0 on."""
    following: dict[int, int] = {}
    for expected, (position, number, sequence) in enumerate(found):
        if position != expected or sequence != following.get(number, 0):
            return False
        following[number] = sequence + 1
    return True


@pytest.mark.parametrize(("writers", "groups"), [(2, 10), pytest.param(3, 40, marks=pytest.mark.slow)])
def test_writers_at_the_same_time_lose_no_sequence_and_double_none(
    journal: Path, writers: int, groups: int
) -> None:
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=_write_in_turn, args=(groups,)) for _ in range(writers)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)

    found = rows(journal, "SELECT position, writer, sequence FROM record ORDER BY position")
    assert [child.exitcode for child in children] == [0] * writers
    assert len(found) == writers * (groups * 3 + 2)
    assert _are_in_order(found)


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("ROLLBACK")


def test_a_writer_waits_for_a_lock_no_longer_than_its_patience_and_recovers(journal: Path) -> None:
    with closing(store.opened(patience=0.3)) as opened, Writer(opened, "test", "0") as one:
        one.append(receipts(1))
        with locked(journal):
            begun = time.monotonic()
            with pytest.raises(Unavailable, match="locked by another process"):
                one.append(receipts(1))
            assert time.monotonic() - begun < 1.0
        one.append(receipts(2))

    assert rows(journal, "SELECT sequence FROM record ORDER BY position") == [(n,) for n in range(5)]


def test_a_lock_of_a_second_is_waited_for(journal: Path) -> None:
    with closing(store.opened(patience=5)) as opened, Writer(opened, "test", "0") as one:
        written = threading.Event()
        with locked(journal):
            waiting = threading.Thread(target=_write_and_say, args=(one, written))
            waiting.start()
            assert not written.wait(1)
        assert written.wait(5)
        waiting.join()


def _write_and_say(one: Writer, written: threading.Event) -> None:
    one.append(receipts(1))
    written.set()


def test_a_full_journal_refuses_a_group_whole_and_goes_on_when_there_is_room(journal: Path) -> None:
    with closing(store.opened()) as opened, Writer(opened, "test", "0") as one:
        one.append(receipts(10))
        _limit_pages(opened, 10)
        with pytest.raises(Unavailable, match="no room is left for the journal"):
            one.append(receipts(500))
        _limit_pages(opened, 1_000_000)
        one.append(receipts(20))

    found = rows(journal, "SELECT position, writer, sequence FROM record ORDER BY position")
    assert len(found) == 1 + 10 + 20 + 1
    assert _are_in_order(found)


def _limit_pages(opened: store.Journal, pages: int) -> None:
    """On the connection that the writer keeps."""
    with opened.writing() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")


_UNDER_A_LIMIT = """
import resource, signal, sys
from journal.errors import Unavailable
from tests.journal_support import receipts, writer
with writer() as one:
    one.append(receipts(10))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, unlimited[1]))
    try:
        for _ in range(100):
            one.append(receipts(50))
    except Unavailable as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    one.append(receipts(20))
"""


def test_files_that_may_not_grow_leave_a_whole_journal(journal: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _UNDER_A_LIMIT], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout in (
        "the disk refuses to read or write the journal: it may be full, limited or broken\n",
        "no room is left for the journal: free some, or raise the limit of its size\n",
    )
    found = rows(journal, "SELECT position, writer, sequence FROM record ORDER BY position")
    assert _are_in_order(found)
    assert (len(found) - 32) % 50 == 0
    assert rows(journal, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("error", [FileNotFoundError("elsewhere"), ModuleNotFoundError("another")])
def test_what_fails_beside_the_journal_is_not_blamed_on_it(error: Exception, journal: Path) -> None:
    with closing(store.opened()) as opened, pytest.raises(type(error), match=str(error)), opened.reading():
        raise error


def test_a_backup_in_another_mode_is_written_in_the_place_of_the_journal(journal: Path) -> None:
    write(receipts(1))
    backup = journal.with_name("backup.db")
    with closing(sqlite3.connect(journal)) as database:
        database.execute("VACUUM INTO ?", [str(backup)])
    for part in journal.parent.glob("journal.db*"):
        part.unlink()
    backup.rename(journal)

    write(receipts(2))

    assert rows(journal, "PRAGMA journal_mode") == [("wal",)]
    assert _are_in_order(rows(journal, "SELECT position, writer, sequence FROM record ORDER BY position"))


def test_a_place_that_can_hold_no_log_is_told_and_not_taken_for_a_moved_journal(journal: Path) -> None:
    changed(journal, "PRAGMA journal_mode = DELETE")
    without_shared_memory = sa.make_url(f"sqlite:///file:{journal}?vfs=unix-none&uri=true")

    with (
        closing(store.Journal(without_shared_memory, 1)) as opened,
        pytest.raises(Unavailable, match="cannot hold the log that SQLite keeps beside the journal"),
    ):
        opened.keep_log()


def test_a_journal_that_can_only_be_read_is_read_and_not_written(journal: Path) -> None:
    write(receipts(3))

    with closing(store.opened()) as opened:
        with opened.outside_transactions() as connection:
            connection.exec_driver_sql("PRAGMA query_only = ON")
        with opened.reading() as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(schema.record)).scalar() == 5
        with pytest.raises(Unavailable, match="the journal is read-only here"):
            Writer(opened, "test", "0").append(receipts(1))


def test_an_error_of_the_database_shows_no_value_of_a_client(journal: Path) -> None:
    changed(journal, "ALTER TABLE record RENAME COLUMN lasting TO moved")
    one = receipt_of(client_reference="MARKER-41", inputs=(41424344.5, 2.0, 3.0))

    with closing(store.opened()) as opened, pytest.raises(JournalError) as raised:
        Writer(opened, "test", "0").append([one])

    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    assert "MARKER" not in str(raised.value.__context__)
    assert "41424344" not in str(raised.value.__context__)
