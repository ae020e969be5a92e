"""What a verification finds, with a checkpoint that was kept elsewhere and without one."""

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from journal import checkpoints, record, store, verification
from journal.checkpoints import Checkpoint
from journal.errors import Damaged, NoJournal, OtherSchema
from journal.events import Review, Served
from journal.models import digest_of
from journal.tree import Frontier
from journal.verification import Report
from tests.journal_support import (
    KEY,
    MODEL,
    changed,
    erased,
    journal_at,
    receipts,
    rows,
    write,
    writer,
)

Change = Callable[[sqlite3.Connection, random.Random], object]


@dataclass
class Filled:
    """A journal of some hundred records by three writers, with an erasure, and a checkpoint of nearly all."""

    file: Path
    checkpoint: Checkpoint

    def changed(self, change: Change, chance: random.Random) -> None:
        with closing(sqlite3.connect(self.file)) as database, database:
            change(database, chance)


@pytest.fixture(scope="module")
def filled_once(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    folder = tmp_path_factory.mktemp("filled")
    with pytest.MonkeyPatch.context() as patch:
        file = journal_at(folder, patch)
        first = receipts(300)
        write([*first[:100]], [*first[100:]])
        with writer() as one:
            one.append([Served(model=MODEL), *receipts(50)])
            one.append([Review(decision=first[5].id, outcome="accept", reviewer="léa", reason="revenus")])
        erased(first[7].id)
        with closing(store.opened()) as opened:
            made = checkpoints.make(opened, KEY, "test")
        write(receipts(20))
    return Filled(file, made)


@pytest.fixture
def filled(filled_once: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Filled:
    file = tmp_path / "journal.db"
    file.write_bytes(filled_once.file.read_bytes())
    monkeypatch.setenv("JOURNAL_URL", f"sqlite:///{file}")
    return Filled(file, filled_once.checkpoint)


def verified(*given: Checkpoint) -> Report:
    with closing(store.opened()) as opened, opened.reading() as connection:
        return verification.verify(connection, given, [KEY.public_key()])


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
        from journal.writer import Writer

        Writer(opened, "killed", "0").append(receipts(3))
    found = verified(filled.checkpoint)

    assert (found.findings, found.unended) == ([], [5])


def test_a_hundred_erasures_are_never_a_false_alarm(filled: Filled) -> None:
    decisions = [one for (one,) in rows(filled.file, "SELECT id FROM record WHERE kind = 1 ORDER BY time")]
    chance = random.Random(3)  # noqa: S311 - the same erasures at every run

    for one in chance.sample(decisions, 100):
        erased(one)

    found = verified(filled.checkpoint)
    assert found.findings == []
    assert found.erased in (100, 101)


def test_a_page_of_records_takes_no_more_memory_than_another(filled: Filled) -> None:
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
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        checkpoints.make(opened, Ed25519PrivateKey.generate(), "test")

    assert any("was not signed by one of these keys" in one for one in verified().findings)


# ---- 300 tamperings


def _position(database: sqlite3.Connection, chance: random.Random, where: str = "1") -> int:
    """Of a record that the checkpoint holds."""
    query = f"SELECT position FROM record WHERE position < 370 AND {where} ORDER BY position"  # noqa: S608
    return int(chance.choice(database.execute(query).fetchall())[0])


def _change_a_column(database: sqlite3.Connection, chance: random.Random) -> None:
    column = chance.choice(("kind", "label", "writer", "sequence", "time", "model", "is_erased"))
    place = _position(database, chance, f"{column} IS NOT NULL")
    database.execute(f"UPDATE record SET {column} = {column} + 100 WHERE position = ?", (place,))  # noqa: S608


def _change_a_byte(database: sqlite3.Connection, chance: random.Random) -> None:
    column = chance.choice(("id", "commitment", "lasting", "erasable"))
    place = _position(database, chance, f"length({column}) > 0")
    (content,) = database.execute(f"SELECT {column} FROM record WHERE position = ?", (place,)).fetchone()  # noqa: S608
    turned = bytearray(content)
    turned[chance.randrange(len(turned))] ^= 1 << chance.randrange(8)
    database.execute(f"UPDATE record SET {column} = ? WHERE position = ?", (bytes(turned), place))  # noqa: S608


def _remove_one(database: sqlite3.Connection, chance: random.Random) -> None:
    database.execute("DELETE FROM record WHERE position = ?", (_position(database, chance),))


def _remove_the_tail(database: sqlite3.Connection, chance: random.Random) -> None:
    database.execute("DELETE FROM record WHERE position >= ?", (_position(database, chance),))


def _remove_a_writer(database: sqlite3.Connection, chance: random.Random) -> None:
    database.execute("DELETE FROM record WHERE writer = ?", (chance.randrange(4),))


def _swap_two(database: sqlite3.Connection, chance: random.Random) -> None:
    one, another = _position(database, chance), _position(database, chance)
    while one == another:
        another = _position(database, chance)
    for before, after in ((one, -1), (another, one), (-1, another)):
        database.execute("UPDATE record SET position = ? WHERE position = ?", (after, before))


def _insert_a_copy(database: sqlite3.Connection, chance: random.Random) -> None:
    """At the end, as the next record of its writer."""
    place = _position(database, chance, "kind = 1")
    columns = [name for _, name, *_ in database.execute("PRAGMA table_info(record)")]
    row = dict(
        zip(
            columns,
            database.execute("SELECT * FROM record WHERE position = ?", (place,)).fetchone(),
            strict=True,
        )
    )
    (size,) = database.execute("SELECT count(*) FROM record").fetchone()
    (last,) = database.execute(
        "SELECT max(sequence) FROM record WHERE writer = ?", (row["writer"],)
    ).fetchone()
    row |= {"position": size, "sequence": last + 1, "id": chance.randbytes(16)}
    marks = ", ".join("?" * len(columns))
    database.execute(f"INSERT INTO record VALUES ({marks})", tuple(row.values()))  # noqa: S608


def _change_a_checkpoint(database: sqlite3.Connection, chance: random.Random) -> None:
    (content,) = database.execute("SELECT lasting FROM record WHERE kind = 7").fetchone()
    turned = bytearray(content)
    turned[chance.randrange(len(turned))] ^= 1
    database.execute("UPDATE record SET lasting = ? WHERE kind = 7", (bytes(turned),))


def _change_the_tree(database: sqlite3.Connection, chance: random.Random) -> None:
    statements = (
        "UPDATE subtree SET root = randomblob(32)",
        "UPDATE journal SET frontier = randomblob(length(frontier))",
        "UPDATE journal SET size = size - 1",
        "UPDATE journal SET writers = writers + 1",
        "DELETE FROM subtree",
    )
    database.execute(chance.choice(statements))


def _change_the_model(database: sqlite3.Connection, chance: random.Random) -> None:
    description = MODEL.description.replace(
        b'"threshold":0.25', b'"threshold":0.%d' % chance.randrange(26, 99)
    )
    database.execute("UPDATE model SET description = ?, digest = ?", (description, digest_of(description)))


CHANGES: list[Change] = [
    _change_a_column,
    _change_a_byte,
    _remove_one,
    _remove_the_tail,
    _remove_a_writer,
    _swap_two,
    _insert_a_copy,
    _change_a_checkpoint,
    _change_the_tree,
    _change_the_model,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.strip("_"))
def test_every_clumsy_tampering_by_sql_is_found_even_without_a_checkpoint(
    filled: Filled, change: Change
) -> None:
    whole = filled.file.read_bytes()
    for seed in range(10):
        filled.file.write_bytes(whole)
        filled.changed(change, random.Random(seed))  # noqa: S311 - the same tampering at every run

        assert verified().findings, (change, seed)


def _logical(file: Path) -> list[Any] | None:
    """All that the database holds; None if it cannot be read."""
    try:
        with closing(sqlite3.connect(file)) as database:
            if database.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
                return None
            tables = ("journal", "journal_version", "model", "record", "subtree")
            return [database.execute(f"SELECT * FROM {table}").fetchall() for table in tables]  # noqa: S608
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return None


def test_every_tampering_by_bytes_is_found(filled: Filled) -> None:
    """Of a byte that holds something: a page's unused room may hold anything."""
    whole, held = filled.file.read_bytes(), _logical(filled.file)
    chance = random.Random(11)  # noqa: S311 - the same bytes at every run
    tampered = 0
    while tampered < 100:
        turned = bytearray(whole)
        turned[chance.randrange(100, len(turned))] ^= 1 << chance.randrange(8)
        filled.file.write_bytes(turned)
        if _logical(filled.file) == held:
            continue
        tampered += 1
        assert _is_found(filled.checkpoint), tampered


def _is_found(*given: Checkpoint) -> bool:
    """By a finding, or by a sentence that says why nothing can be verified."""
    try:
        return bool(verified(*given).findings)
    except (Damaged, NoJournal, OtherSchema):
        return True


class Forger:
    """Somebody with all rights and our code, who changes a journal and computes all of it anew."""

    def __init__(self, file: Path) -> None:
        self._database = sqlite3.connect(file)
        self._database.row_factory = sqlite3.Row
        self.rows = [dict(row) for row in self._database.execute("SELECT * FROM record ORDER BY position")]

    def write(self) -> None:
        sequences: dict[int, int] = {}
        numbers = {old: new for new, old in enumerate(dict.fromkeys(row["writer"] for row in self.rows))}
        frontier = Frontier()
        for position, row in enumerate(self.rows):
            row["position"], row["writer"] = position, numbers[row["writer"]]
            row["sequence"] = sequences.get(row["writer"], 0)
            sequences[row["writer"]] = row["sequence"] + 1
            row["commitment"] = self._commitment(row)
        completed = frontier.extend(row["commitment"] for row in self.rows)
        with closing(self._database) as database, database:
            database.execute("DELETE FROM record")
            marks = ", ".join(f":{name}" for name in self.rows[0])
            database.executemany(f"INSERT INTO record VALUES ({marks})", self.rows)  # noqa: S608
            database.execute("DELETE FROM subtree")
            database.executemany("INSERT INTO subtree VALUES (?, ?, ?)", completed)
            own = (len(self.rows), len(sequences), b"".join(frontier.roots))
            database.execute("UPDATE journal SET size = ?, writers = ?, frontier = ?", own)

    @staticmethod
    def _commitment(row: dict[str, Any]) -> bytes:
        parts = (row[name] for name in ("kind", "label", "writer", "sequence", "time", "id", "subject"))
        digest = digest_of(b"" if row["model"] is None else MODEL.description)
        seal = row["erasable"][:32] if row["is_erased"] else record.seal(row["erasable"])
        return record.commitment(record.head(*parts), digest, seal, row["lasting"])


def _forge_an_answer(rows: list[dict[str, Any]], chance: random.Random) -> None:
    one = chance.choice([row for row in rows[:370] if row["kind"] == 1])
    one["label"] = (one["label"] + 1) % 3


def _forge_an_input(rows: list[dict[str, Any]], chance: random.Random) -> None:
    one = chance.choice([row for row in rows[:370] if row["kind"] == 1 and not row["is_erased"]])
    one["erasable"] = one["erasable"][:32] + chance.randbytes(8) + one["erasable"][40:]


def _forge_a_removal(rows: list[dict[str, Any]], chance: random.Random) -> None:
    rows.remove(chance.choice([row for row in rows[:300] if row["kind"] == 1 and not row["is_erased"]]))
    _move_the_erasure(rows)


def _forge_an_insertion(rows: list[dict[str, Any]], chance: random.Random) -> None:
    one = chance.choice([row for row in rows[:300] if row["kind"] == 1])
    rows.insert(
        rows.index(one), one | {"id": chance.randbytes(16), "is_erased": 0, "erasable": chance.randbytes(90)}
    )
    _move_the_erasure(rows)


def _forge_an_order(rows: list[dict[str, Any]], chance: random.Random) -> None:
    one, another = chance.sample([place for place in range(20, 300) if rows[place]["kind"] == 1], 2)
    rows[one], rows[another] = rows[another], rows[one]


def _forge_the_tail(rows: list[dict[str, Any]], chance: random.Random) -> None:
    """Whoever cuts the erasure off must take the erased receipt away, too."""
    del rows[chance.randrange(200, 350) :]
    rows[:] = [row for row in rows if not row["is_erased"]]


def _forge_a_writer_away(rows: list[dict[str, Any]], chance: random.Random) -> None:
    rows[:] = [row for row in rows if row["writer"] != 1]
    _move_the_erasure(rows)


def _move_the_erasure(rows: list[dict[str, Any]]) -> None:
    """A forger also mends what the erasure says, and takes checkpoints away, which cannot be mended."""
    rows[:] = [row for row in rows if row["kind"] != 7]
    (place,) = [place for place, row in enumerate(rows) if row["is_erased"]]
    (erasure,) = [row for row in rows if row["kind"] == 4]
    erasure["lasting"] = f'{{"by":"test","ranges":[[{place},{place}]],"why":"a test"}}'.encode()


FORGERIES = [
    _forge_an_answer,
    _forge_an_input,
    _forge_a_removal,
    _forge_an_insertion,
    _forge_an_order,
    _forge_the_tail,
    _forge_a_writer_away,
]


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__.strip("_"))
def test_a_forger_who_computes_all_anew_is_found_with_a_checkpoint_alone(
    filled: Filled, forge: Callable[[list[dict[str, Any]], random.Random], None]
) -> None:
    """This is what the sentence about verifying without a checkpoint does not exclude."""
    whole = filled.file.read_bytes()
    for seed in range(15):
        filled.file.write_bytes(whole)
        forger = Forger(filled.file)
        forger.rows[:] = [row for row in forger.rows if row["kind"] != 7]
        forge(forger.rows, random.Random(seed))  # noqa: S311 - the same forgery at every run
        forger.write()

        assert verified().findings == []
        assert verified(filled.checkpoint).findings, (forge, seed)
