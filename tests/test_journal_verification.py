"""What a verification finds and how it names it."""

import random
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from journal import checkpoints, store, verification
from journal.verification import Report
from journal.writer import Writer
from tests.journal_support import Filled, changed, erased, filled_at, journal_at, receipts, rows, verified


@pytest.fixture(scope="module")
def filled_once(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    return filled_at(tmp_path_factory.mktemp("filled"))


@pytest.fixture
def filled(filled_once: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Filled:
    return filled_once.copied(tmp_path, monkeypatch)


# ---- Whole journals


def test_a_journal_that_nobody_touched_holds(filled: Filled) -> None:
    found = verified(filled.checkpoint)

    assert found.findings == []
    assert (found.receipts, found.erased, found.unended) == (370, 1, [])
    assert [(found.size,)] == rows(filled.file, "SELECT count(*) FROM record")


def test_an_empty_journal_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal_at(tmp_path, monkeypatch)

    assert verified() == Report(origin=verified().origin)


def test_a_writer_that_was_killed_is_named_and_is_no_finding(filled: Filled) -> None:
    with closing(store.opened()) as opened:
        Writer(opened, "killed", "0").append(receipts(3))
    found = verified(filled.checkpoint)

    assert (found.findings, found.unended) == ([], [5])


@pytest.mark.parametrize("erasures", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_many_erasures_are_never_a_false_alarm(filled: Filled, erasures: int) -> None:
    decisions = [one for (one,) in rows(filled.file, "SELECT id FROM record WHERE kind = 1 ORDER BY time")]
    chance = random.Random(3)  # noqa: S311 - the same erasures at every run

    for one in chance.sample(decisions, erasures):
        erased(one)

    found = verified(filled.checkpoint)
    assert found.findings == []
    assert found.erased in (erasures, erasures + 1)


def test_each_record_is_told_to_the_progress_once(filled: Filled) -> None:
    counts: list[int] = []
    with closing(store.opened()) as opened, opened.reading() as connection:
        verification.verify(connection, progress=counts.append)

    assert sum(counts) == verified().size


# ---- What each finding says


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("UPDATE record SET lasting = x'00' WHERE position = 9", "record 9 ("),
        ("UPDATE record SET label = (label + 1) % 3 WHERE position = 9", "was changed"),
        ("UPDATE record SET time = 'noon' WHERE position = 9", "record 9 cannot be read"),
        ("UPDATE record SET model = 7 WHERE position = 9", "was changed"),
        ("UPDATE record SET lasting = 'text' WHERE position = 9", "record 9 cannot be read"),
        ("DELETE FROM record WHERE position = 9", "record 9 is missing"),
        ("DELETE FROM record WHERE position BETWEEN 9 AND 12", "is number 13 of writer 0, where 9 is due"),
        ("DELETE FROM record WHERE position > 380", "and the records make 381"),
        ("DELETE FROM record WHERE writer = 1", "records 302 to 355 are missing"),
        ("UPDATE record SET commitment = zeroblob(32) WHERE position = 9", "does not fit records 0 to 255"),
        ("UPDATE subtree SET root = zeroblob(32)", "does not fit records 0 to 255"),
        ("DELETE FROM subtree", "the stored tree has no subtrees by its own count, and the records make 1"),
        ("INSERT INTO subtree VALUES (8, 7, x'00')", "the stored tree has 2 subtrees"),
        ("UPDATE journal SET frontier = zeroblob(length(frontier))", "the end of the stored tree"),
        (
            "UPDATE journal SET writers = 2",
            "the journal has 2 writers by its own count, and the records make 5",
        ),
        ("UPDATE journal SET origin = 'another'", "began in another journal"),
        ("DELETE FROM journal", "the journal has lost its own row"),
        ("UPDATE model SET description = x'7b7d'", "the description of model 0 was changed"),
        ("UPDATE record SET is_erased = 1 WHERE position = 9", "and no erasure tells of it"),
        (
            "UPDATE record SET erasable = zeroblob(length(erasable)) WHERE is_erased",
            "was changed",
        ),
        ("UPDATE record SET is_erased = 0 WHERE is_erased", "has its values back after an erasure"),
        ("DROP INDEX record_by_id", "the index record_by_id is missing or another one"),
    ],
)
def test_a_change_by_sql_is_found_and_named(filled: Filled, statement: str, finding: str) -> None:
    changed(filled.file, statement)

    found = verified()

    assert any(finding in one for one in found.findings), found.findings


def test_values_left_behind_an_erasure_are_named(filled: Filled) -> None:
    changed(
        filled.file,
        "UPDATE record SET erasable = CAST(substr(erasable, 1, 40) || x'01' AS BLOB) WHERE is_erased",
    )

    assert any("says that it was erased, and still holds values" in one for one in verified().findings)


def test_many_findings_are_counted_and_the_first_are_named(filled: Filled) -> None:
    changed(filled.file, "UPDATE record SET time = time + 1")

    found = verified()

    assert len(found.findings) == verification.MOST_NAMED
    assert found.count >= found.size


def test_a_checkpoint_of_another_journal_is_called_one(
    filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    journal_at(tmp_path / "other", monkeypatch)

    assert [
        f"is of another journal, {filled.checkpoint.origin}" in one
        for one in verified(filled.checkpoint).findings
    ] == [True]


def test_a_checkpoint_in_the_journal_must_be_signed_by_the_key(filled: Filled) -> None:
    with closing(store.opened()) as opened:
        checkpoints.make(opened, Ed25519PrivateKey.generate(), "test")

    assert any("was not signed by one of these keys" in one for one in verified().findings)


def test_what_somebody_added_to_the_database_is_named(filled: Filled) -> None:
    changed(
        filled.file,
        "CREATE TABLE kept (erasable BLOB)",
        "CREATE TRIGGER keeps BEFORE UPDATE ON record BEGIN INSERT INTO kept VALUES (OLD.erasable); END",
        "CREATE VIEW seen AS SELECT * FROM kept",
        "CREATE INDEX copied ON record (erasable)",
    )

    added = "is not the journal's own: it may change or keep what is written"
    assert verified().findings == [
        f"the index 'copied' {added}",
        f"the table 'kept' {added}",
        f"the trigger 'keeps' {added}",
        f"the view 'seen' {added}",
    ]
