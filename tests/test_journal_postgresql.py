"""The journal in PostgreSQL: the same code, the same promises."""

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from journal import checkpoints, listing, proofs, reading, schema, store, verification
from journal.errors import Twice, Unavailable
from journal.events import Review
from journal.writer import Writer
from tests.journal_support import KEY, erased, receipt_of, receipts, write, writer
from tests.neighbours import postgresql, wait_for


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql() as url:
        wait_for(url)
        yield url


@pytest.fixture
def journal(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new journal, in place of that of the test before."""
    engine = sa.create_engine(server, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
    monkeypatch.setenv("JOURNAL_URL", server)
    store.make()[0].close()
    return server


@contextmanager
def connected() -> Iterator[sa.Connection]:
    with closing(store.opened()) as opened, opened.reading() as connection:
        yield connection


def test_the_migrations_make_the_tables_that_the_code_reads(journal: str) -> None:
    with connected() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": schema.VERSION_TABLE})
        assert compare_metadata(context, schema.metadata) == []


def test_what_is_written_is_read_verified_and_proved(journal: str) -> None:
    one = receipt_of(0.1 + 0.2, client_reference="dossier 7")
    write(receipts(300), [one])
    with closing(store.opened()) as opened:
        made = checkpoints.make(opened, KEY, "test")

    with connected() as connection:
        found = reading.find(connection, one.id)
        report = verification.verify(connection, [made], [KEY.public_key()])
        proof = proofs.of_inclusion(connection, one.id)
        by_reference = listing.of_reference(connection, "dossier 7")
    assert found is not None
    assert found.kept.outputs == tuple(one.outputs)
    assert (report.findings, report.receipts) == ([], 301)
    assert proof["position"] == found.position
    assert [each.id for each in by_reference] == [one.id]


def test_the_same_receipt_twice_is_refused(journal: str) -> None:
    one = receipt_of()
    write([one])

    with writer() as again, pytest.raises(Twice, match="in the journal already"):
        again.append([one])


def test_a_change_is_found(journal: str) -> None:
    write(receipts(20))
    with closing(store.opened()) as opened, opened.writing() as connection:
        connection.execute(schema.record.update().where(schema.record.c.position == 7).values(label=None))

    with connected() as connection:
        (finding,) = verification.verify(connection).findings
    assert finding.startswith("record 7 (")


def test_a_trigger_that_somebody_added_is_named(journal: str) -> None:
    with closing(store.opened()) as opened, opened.writing() as connection:
        connection.execute(
            sa.text("CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
        )
        connection.execute(
            sa.text("CREATE TRIGGER keeps BEFORE UPDATE ON record FOR EACH ROW EXECUTE FUNCTION keep()")
        )

    with connected() as connection:
        (finding,) = verification.verify(connection).findings
    assert finding.startswith("the trigger 'keeps' is not the journal's own")


def _write_in_turn(groups: int) -> None:
    with writer() as one:
        for _ in range(groups):
            one.append(receipts(3))


@pytest.mark.slow
def test_writers_at_the_same_time_lose_no_sequence_and_double_none(journal: str) -> None:
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=_write_in_turn, args=(60,)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(100)

    with connected() as connection:
        report = verification.verify(connection)
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert (report.findings, report.unended) == ([], [])
    assert report.receipts == 3 * 60 * 3


def test_a_writer_that_vanishes_in_a_transaction_loses_the_lock(
    journal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "IDLE_SECONDS", 1)
    with (
        closing(store.opened()) as vanished,
        closing(store.opened(patience=5)) as other,
        pytest.raises(Unavailable, match="does not answer as it should"),
    ):
        _append_while_locked(vanished, other)
    with connected() as connection:
        assert reading.size(connection) == 3


def _append_while_locked(vanished: store.Journal, other: store.Journal) -> None:
    with vanished.writing() as connection:
        connection.execute(sa.select(schema.journal).with_for_update())
        with Writer(other, "test", "0") as one:
            one.append(receipts(1))
        connection.execute(sa.select(schema.journal))


def test_a_reader_may_think_between_two_pages(journal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "IDLE_SECONDS", 1)
    write(receipts(1))

    with connected() as connection:
        before = reading.size(connection)
        time.sleep(1.5)
        assert (before, reading.size(connection)) == (3, 3)


def test_a_writer_waits_for_a_lock_no_longer_than_its_patience(journal: str) -> None:
    holder = sa.create_engine(journal, poolclass=sa.NullPool)
    with closing(store.opened(patience=0.3)) as opened, Writer(opened, "test", "0") as one:
        one.append(receipts(1))
        with holder.connect() as connection:
            connection.execute(sa.select(schema.journal).with_for_update())
            begun = time.monotonic()
            with pytest.raises(Unavailable, match="locked by another process"):
                one.append(receipts(1))
            assert time.monotonic() - begun < 2.0
        one.append(receipts(2))

    with connected() as connection:
        assert verification.verify(connection).findings == []


@pytest.mark.slow
def test_nothing_of_the_erased_is_left_in_the_files_of_the_tables(journal: str) -> None:
    marked = [receipt_of(client_reference=f"MARKER-{number:03d}-") for number in range(200)]
    gone = range(3, 200, 7)
    write(marked)
    with writer() as reviewing:
        reviewing.append(
            [Review(decision=marked[3].id, outcome="refuse", reviewer="léa", reason="MARKER-reason")]
        )

    erased(*(marked[number].id for number in gone))

    content = _bytes_of_the_tables()
    left = [number for number in range(200) if b"MARKER-%03d-" % number in content]
    assert left == [number for number in range(200) if number not in gone]
    assert b"MARKER-reason" not in content
    with connected() as connection:
        assert verification.verify(connection).findings == []


def _bytes_of_the_tables() -> bytes:
    """Of all files of the database but its write-ahead log, which its server keeps and reuses."""
    with closing(store.opened()) as opened, opened.outside_transactions() as connection:
        connection.exec_driver_sql("CHECKPOINT")
        folder = Path(str(connection.exec_driver_sql("SHOW data_directory").scalar()))
    return b"".join(file.read_bytes() for file in (folder / "base").rglob("*") if file.is_file())
